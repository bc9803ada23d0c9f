"""One certificate: what it says about itself, its folds, level and costs, and then its walk."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from offramp.recheck.chains import FAMILIES, Thresholds, accuracy_margin, full_network, thinned
from offramp.recheck.claims import (
    CERTIFIED_ROUTES,
    METHODS,
    OVERALL,
    PAIRED,
    PER_EXIT,
    Claim,
    claim_of,
    order_of,
    several,
)
from offramp.recheck.costs_schema import StatedCosts
from offramp.recheck.report import Finding, Verdict, same
from offramp.recheck.route_chains import chain_of, derived, route_findings
from offramp.recheck.routes import Route, route_of
from offramp.recheck.rows import Table, digest, in_tune
from offramp.recheck.schema import Certificate, Entry, Folds, PoliciesFile, finite
from offramp.recheck.steps import chain_findings, end_findings, figure_findings, label_findings, step_findings

EXACT = 1e-12  # relative, of numbers that were written down and not computed


@dataclass(frozen=True)
class Evidence:
    """What certificates are held against: the file, the validation rows, the costs (None: not given)."""

    file: PoliciesFile
    table: Table
    tune: Table
    certify: Table
    scoring: Sequence[Finding]  # about temperatures and weights, on which every certificate rests
    costs: StatedCosts | None = None
    chains: dict[str, list[Thresholds]] = field(default_factory=dict)  # those derived so far

    @property
    def looks(self) -> int:
        """Return how many policies of the file claim to be certified, feasible or not: all saw the same rows."""
        return sum(entry.method in METHODS for entry in self.file.policies)

    @property
    def first(self) -> Certificate:
        return next(entry.certificate for entry in self.file.policies if entry.certificate is not None)


def without_certificate(entry: Entry) -> Verdict:
    """Return that there is nothing to confirm; a certified method that is feasible but proves nothing is refuted."""
    if entry.method in METHODS and entry.feasible:
        text = f"method {entry.method} claims a guarantee, and there is no certificate of it"
        return Verdict(entry.name, [Finding(False, text)])
    return Verdict(entry.name, note="it is infeasible" if not entry.feasible else f"{entry.method} certifies nothing")


def examine(entry: Entry, certificate: Certificate, evidence: Evidence, done: Callable[[], object]) -> Verdict:
    """Return the verdict on a policy with a certificate; `done` is called after each of its steps.

    What cannot be computed with (sizes), and another file's rows, end it at once: the rest would only be noise.
    """
    findings = list(_sizes(entry, certificate, evidence.table.n_exits))
    if all(finding.confirmed for finding in findings):
        findings += _folds(certificate, evidence)
    if all(finding.confirmed for finding in findings):
        claim, words = _claim(entry, certificate, evidence.looks)
        findings += [*evidence.scoring, *words, *_same_terms(certificate, evidence), *_costs(certificate, evidence)]
        findings += _walk(entry, certificate, claim, evidence, done)
    p = certificate.steps[min(max(certificate.returned, 1), len(certificate.steps)) - 1].p_value
    return Verdict(entry.name, findings, f"{len(certificate.steps)} steps, p = {p:.4g}")


def _sizes(entry: Entry, certificate: Certificate, n_exits: int) -> Iterator[Finding]:
    """Confirm that the certificate belongs to such a policy and that its parts fit together."""
    name = f"{entry.method}@{entry.target:g}"
    yield Finding(entry.name == name, f"its name is {entry.name!r:.60}; method and target make it {name!r:.60}")
    yield Finding(entry.method in METHODS, f"method {entry.method!r:.60}; {', '.join(METHODS)} certify")
    yield Finding(0 < entry.target <= 1, f"its target is {entry.target:g}; a target is in (0, 1]")
    yield Finding(
        entry.feasible, "it has a certificate and says that it is " + ("feasible" if entry.feasible else "infeasible")
    )
    n, returned = len(certificate.steps), certificate.returned
    yield Finding(1 <= returned <= n, f"the step returned is number {returned} of {n}")
    sized = [len(step.thresholds) == n_exits and step.thresholds[-1] == "inf" for step in certificate.steps]
    wrong = [number for number, fits in enumerate(sized, start=1) if not fits]
    text = f"every step has {n_exits} thresholds"
    if wrong:
        text = f'step {wrong[0]} needs {n_exits} thresholds, the last of them "inf"'
    yield Finding(not wrong, text)
    costs = certificate.costs
    lengths = {len(part) for part in (costs.segment, costs.head, costs.cumulative) if part is not None}
    yield Finding(lengths == {n_exits}, f"its costs are of {max(lengths)} exits, the cache has {n_exits}")


def _folds(certificate: Certificate, evidence: Evidence) -> Iterator[Finding]:
    """Confirm that these are the rows the certificate speaks of, dealt by the rule."""
    folds, first = certificate.folds, evidence.first.folds
    yield Finding(
        (folds.fold_seed, folds.tune_fraction) == (first.fold_seed, first.tune_fraction),
        f"its folds are dealt by fold_seed {folds.fold_seed} at {folds.tune_fraction:g}, those of the file's first "
        f"certificate by {first.fold_seed} at {first.tune_fraction:g}",
    )
    for name, stated, rows in (("tune", folds.tune, evidence.tune), ("certify", folds.certify, evidence.certify)):
        yield Finding(stated.rows == len(rows), f"the {name} fold has {stated.rows} rows; the rule deals {len(rows)}")
        own = digest(rows.sample)
        yield Finding(
            stated.sha256 == own, f"the {name} fold's digest is {stated.sha256[:8]!r}…; the rule's is {own[:8]!r}…"
        )
    yield Finding(certificate.n == len(evidence.certify), f"n is {certificate.n}; {len(evidence.certify)} rows certify")
    yield Finding(len(evidence.tune) > 0 and len(evidence.certify) > 0, "both folds have rows")


def _claim(entry: Entry, certificate: Certificate, looks: int) -> tuple[Claim, list[Finding]]:
    """Return the claim that a policy makes at the level it may take, and whether the certificate words it so."""
    delta = certificate.delta
    together = looks > 1 and certificate.several == several(looks, delta, simultaneous=True)
    level = delta / looks if together else delta
    order = order_of(certificate.test) if claim_of(entry.method) == PAIRED else ""
    claim = Claim(claim_of(entry.method), entry.target, level, order or "score")
    words = several(looks, delta, together)
    share = f"delta {delta:g}{f' over {looks} looks' if together else ''}"
    findings = [
        Finding(certificate.looks == looks, f"looks is {certificate.looks}; the file has {looks} certified policies"),
        Finding(certificate.several == words, f"it says {certificate.several!r:.160}; it should say {words!r}"),
        Finding(
            same(certificate.level, level, EXACT),
            f"its level is {certificate.level:g}; {share} is {level:g}",
        ),
    ]
    for what, expected in (("statement", claim.statement), ("hypothesis", claim.hypothesis), ("test", claim.test)):
        given = getattr(certificate, what)
        findings.append(Finding(given == expected, f"its {what} is {given!r:.160}; it should be {expected!r}"))
    return claim, findings


def _same_terms(certificate: Certificate, evidence: Evidence) -> Iterator[Finding]:
    """Confirm that all certificates of a file were made on the same terms: `looks` counts no others."""
    given, first = (certificate.delta, certificate.level), (evidence.first.delta, evidence.first.level)
    yield Finding(given == first, f"delta and level are {given}; the file's first certificate has {first}")


def _costs(certificate: Certificate, evidence: Evidence) -> Iterator[Finding]:
    """Confirm that costs add up and, where a costs file was given, that they are its costs."""
    stated, times = certificate.costs, evidence.file.cost
    unit, own_unit = stated.unit or "macs", "macs" if times is None else "ms"
    yield Finding(unit == own_unit, f"its costs are in {unit}, those of the file in {own_unit}")
    yield Finding(
        certificate.without_dear_exits == (times is not None and certificate.search is None),
        "candidates leave out the exits that cost more than they save just where costs are times, and routes none",
    )
    if times is not None:
        yield Finding(
            _same_costs(stated, times.stated()),
            f"its costs ({_sum(stated)}) and those under cost ({_sum(times.stated())})",
        )
    if stated.segment is not None and stated.head is not None:
        total = sum(stated.segment) + stated.head[-1]
        yield Finding(
            same(stated.full, total), f"the full cost is {stated.full:g}; segments and last head make {total:g}"
        )
    if evidence.costs is not None:
        yield Finding(
            _same_costs(stated, evidence.costs), f"its costs ({_sum(stated)}) and the file's ({_sum(evidence.costs)})"
        )


def _same_costs(given: StatedCosts, expected: StatedCosts) -> bool:
    for part in ("segment", "head", "cumulative"):
        a, b = getattr(given, part), getattr(expected, part)
        if (a is None) != (b is None) or (a is not None and not (len(a) == len(b) and all(map(same, a, b)))):
            return False
    return same(given.full, expected.full)


def _sum(costs: StatedCosts) -> str:
    return f"full {costs.full:g}, heads {'not known' if costs.head is None else f'{sum(costs.head):g}'}"


def _walk(
    entry: Entry, certificate: Certificate, claim: Claim, evidence: Evidence, done: Callable[[], object]
) -> Iterator[Finding]:
    """Confirm the chain, every step, where the walk ended, what it returned, and the figures of that."""
    families = ("accuracy_margin",) if entry.method == PER_EXIT else tuple(sorted(FAMILIES))
    if entry.method in CERTIFIED_ROUTES:
        families = ("cuts",)
    known = certificate.family in families
    yield Finding(known, f"its family is {certificate.family!r:.60}, one of {', '.join(families)}")
    if not known:
        return
    certify = evidence.certify
    if entry.method in CERTIFIED_ROUTES:
        route, findings, chain = _route(entry, certificate, evidence)
        yield from findings
        if route is None:
            return
        certify = replace(certify, route=route)
    else:
        yield Finding(entry.route is None, f"method {entry.method} is of rule 'threshold'; it has {entry.rule!r}")
        chain = _chain(entry, certificate, evidence)
    yield from chain_findings(certificate, chain)
    if len(certificate.steps) > len(chain):
        return  # not a walk along this chain; nobody waits for a million steps of somebody's file
    every_head = evidence.file.score == "change"
    thresholds = finite([entry.thresholds[name] for name in evidence.file.exits])
    yield from step_findings(certificate, claim, certify, done)
    yield from end_findings(certificate, chain, thresholds)
    yield from label_findings(certificate, claim, certify)
    yield from figure_findings(entry.validation, thresholds, certify, certificate.costs, every_head)


def _route(
    entry: Entry, certificate: Certificate, evidence: Evidence
) -> tuple[Route | None, list[Finding], list[Thresholds]]:
    """Return the route of a policy, what is found about it, and its chain; None where that cannot be derived."""
    name, search, tune = CERTIFIED_ROUTES[entry.method], certificate.search, evidence.tune
    findings = [Finding(entry.rule == name, f"its rule is {entry.rule!r}; method {entry.method} is of {name!r}")]
    own = search is not None and search.route == name and (name != "placed" or search.placement is not None)
    findings.append(Finding(own, f"it says what {name!r} was chosen from on the tune fold"))
    parts = certificate.costs.segment is not None and certificate.costs.head is not None
    findings.append(Finding(parts, "its costs have segments and heads"))
    inside = search is not None and (search.start == "auto" or search.start < tune.n_exits)
    findings.append(Finding(inside, "its search starts at a side exit"))
    route = route_of(entry, evidence.file)
    if entry.route is None or route is None or search is None or not all(each.confirmed for each in findings):
        return None, findings, []
    found = derived(route, search, tune, certificate.costs, entry.target)
    fitted_cut = entry.route.cut if entry.route.fitted_cut is None else entry.route.fitted_cut
    findings += route_findings(route, fitted_cut, found, tune)
    return route, findings, chain_of(found.route, found.cuts, tune.n_exits)


def _chain(entry: Entry, certificate: Certificate, evidence: Evidence) -> list[Thresholds]:
    """Return the chain that the certificate had to declare; it is derived once for those that share it."""
    tune, score = evidence.tune, evidence.file.score
    if tune.n_exits == 1:
        chain: list[Thresholds] = []
    elif entry.method == PER_EXIT:
        costs = certificate.costs
        return accuracy_margin(tune, len(evidence.certify), score, entry.target, costs, score == "change")
    else:
        key = f"{certificate.family} {certificate.costs!r}"
        if key not in evidence.chains:
            candidates = FAMILIES[certificate.family](tune, score)
            evidence.chains[key] = thinned(candidates, tune, certificate.costs, score == "change")
        chain = evidence.chains[key]
    return [full_network(tune.n_exits), *chain] if entry.method == OVERALL else chain


def deal(table: Table, folds: Folds) -> tuple[Table, Table]:
    """Return the tune and the certify rows."""
    tune = in_tune(table.sample, folds.fold_seed, folds.tune_fraction)
    return table.take(tune), table.take(~tune)
