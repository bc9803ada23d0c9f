"""One certificate: what it says about itself, its folds, its level and its costs, and then its walk.

By hand are folds, level, counts, p-values, stopping and choice. Fits, chains and routes are made by the shipped code,
which is handed the tune rows alone: a wrong one makes a policy costly, one that used a certify row is another.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import numpy as np

from offramp.cache.reading import LogitCache
from offramp.calibration.certificates.chains import FAMILIES
from offramp.calibration.certified_per_exit import declare as declare_exits
from offramp.calibration.certified_routes import declare as declare_cuts
from offramp.calibration.folds import Tune
from offramp.calibration.routes import Routes
from offramp.calibration.settings import RouteSettings
from offramp.check.claims import CERTIFIED_ROUTES, METHODS, OVERALL, PER_EXIT, Claim, claim_of, several
from offramp.check.report import Finding, Verdict, same
from offramp.check.rows import TuneRows, digest, in_tune
from offramp.check.steps import chain_findings, end_findings, figure_findings, step_findings
from offramp.policies.certificate import Certificate, CertificateCosts
from offramp.policies.costs import Costs
from offramp.policies.outcomes import Outcomes
from offramp.policies.policy import Policies, Policy, Thresholds, full_network
from offramp.policies.replay import costs_under
from offramp.policies.routes.learned import Learned
from offramp.policies.routes.routes import Placed
from offramp.policies.routes.rule import RouteRule
from offramp.policies.routes.walk import Route
from offramp.policies.rules import THRESHOLD
from offramp.scores.fitting import fit_scoring
from offramp.scores.scoring import Scoring

EXACT = 1e-12  # relative, of numbers that were written down and not computed
FIT = 1e-5  # by which log-odds, and costs as fractions of the full network's, may differ from a new fit


@dataclass(frozen=True)
class Evidence:
    """What certificates are compared with: policies, folds dealt again, the first certificate, costs if given."""

    content: Policies
    cache: LogitCache
    tune: Outcomes
    certify: Outcomes
    first: Certificate
    costs: Costs | None
    chains: dict[tuple[str, CertificateCosts], list[Thresholds]] = field(default_factory=dict)  # derived so far

    @classmethod
    def of(cls, content: Policies, cache: LogitCache, rows: Outcomes, first: Certificate, costs: Costs | None) -> Self:
        tune = in_tune(rows.sample, first.folds.fold_seed, first.folds.tune_fraction)
        return cls(content, cache, rows.take(tune), rows.take(~tune), first, costs)

    @cached_property
    def scoring(self) -> list[Finding]:
        """Return what is found about temperatures and fitted scores, on which every certificate rests."""
        return list(_scoring(self.content.scoring, TuneRows(**vars(self.cache), folds=self.first.folds)))


def examine(policy: Policy, certificate: Certificate, evidence: Evidence, done: Callable[[], object]) -> Verdict:
    """Return the verdict on a policy with a certificate; `done` is called after each of its steps.

    Sizes that do not fit, and other rows than the certificate's, end it at once: the rest would only be noise.
    """
    findings = list(_sizes(policy, certificate, evidence.certify.n_exits))
    if all(finding.confirmed for finding in findings):
        findings += _folds(certificate, evidence)
    if all(finding.confirmed for finding in findings):
        claim, words = _claim(policy, certificate, evidence.content)
        findings += [*evidence.scoring, *words, *_costs(certificate, evidence)]
        findings += _walk(policy, certificate, claim, evidence, done)
    p = certificate.returned_step.p_value
    return Verdict(policy.name, findings, f"{len(certificate.steps)} steps, p = {p:.4g}")


def _sizes(policy: Policy, certificate: Certificate, n_exits: int) -> Iterator[Finding]:
    """Confirm that such a policy can have a certificate and that the certificate's parts fit together."""
    yield Finding(policy.method in METHODS, f"method {policy.method!r:.60}; {', '.join(METHODS)} certify")
    yield Finding(0 < policy.target <= 1, f"its target is {policy.target:g}; a target is in (0, 1]")
    yield Finding(policy.feasible, f"it has a certificate and says feasible: {str(policy.feasible).lower()}")
    n, returned = len(certificate.steps), certificate.returned
    yield Finding(1 <= returned <= n, f"the step returned is number {returned} of {n}")
    sized = [len(step.thresholds) == n_exits and step.thresholds[-1] == np.inf for step in certificate.steps]
    wrong = "" if all(sized) else f"step {sized.index(False) + 1} "
    yield Finding(not wrong, f'{wrong}needs {n_exits} thresholds, the last of them "inf"')
    costs = certificate.costs
    lengths = {len(part) for part in (costs.segment, costs.head, costs.cumulative) if part is not None}
    yield Finding(lengths == {n_exits}, f"its costs are of {max(lengths)} exits, the cache has {n_exits}")


def _folds(certificate: Certificate, evidence: Evidence) -> Iterator[Finding]:
    """Confirm that these are the rows the certificate speaks of, dealt by the rule."""
    folds = certificate.folds
    dealt, first = (f"fold_seed {each.fold_seed} at {each.tune_fraction}" for each in (folds, evidence.first.folds))
    yield Finding(dealt == first, f"its folds are dealt by {dealt}, those of the file's first certificate by {first}")
    for name, stated, rows in (("tune", folds.tune, evidence.tune), ("certify", folds.certify, evidence.certify)):
        yield Finding(stated.rows == len(rows), f"the {name} fold has {stated.rows} rows; the rule deals {len(rows)}")
        given, own = stated.sha256, digest(rows.sample)
        yield Finding(given == own, f"the {name} fold's digest is {given[:8]!r}…; the rule's is {own[:8]!r}…")
    yield Finding(certificate.n == len(evidence.certify), f"n is {certificate.n}; {len(evidence.certify)} rows certify")
    yield Finding(len(evidence.tune) > 0 and len(evidence.certify) > 0, "both folds have rows")


def _claim(policy: Policy, certificate: Certificate, content: Policies) -> tuple[Claim, list[Finding]]:
    """Return the claim that a policy makes at the level it may take, and whether the certificate words it so.

    Every certified policy of the file, feasible or not, is a look at the same rows.
    """
    delta, looks = certificate.delta, sum(each.method in METHODS for each in content.policies)
    together = looks > 1 and certificate.several == several(looks, delta, simultaneous=True)
    level = delta / looks if together else delta
    claim = claim_of(policy, level, certificate.test)
    share = f"delta {delta:g}{f' over {looks} looks' if together else ''}"
    given, words = certificate.several, several(looks, delta, together)
    findings = [
        Finding(certificate.looks == looks, f"looks is {certificate.looks}; the file has {looks} certified policies"),
        Finding(given == words, f"it says {given!r:.160}; it should say {words!r}"),
        Finding(same(certificate.level, level, EXACT), f"its level is {certificate.level:g}; {share} is {level:g}"),
    ]
    for what, expected in claim.says().items():
        given = getattr(certificate, what)
        findings.append(Finding(given == expected, f"its {what} is {given!r:.160}; it should be {expected!r}"))
    return claim, findings


def _costs(certificate: Certificate, evidence: Evidence) -> Iterator[Finding]:
    """Confirm that terms are those of the file and that costs add up and are those of the file, or of another given."""
    first = evidence.first
    given, expected = (certificate.delta, certificate.level), (first.delta, first.level)  # `looks` counts no others
    yield Finding(given == expected, f"delta and level are {given}; the file's first certificate has {expected}")
    costs, full, times = certificate.costs.costs, certificate.costs.full, evidence.content.costs
    unit = "macs" if times is None else "ms"
    yield Finding(costs.unit == unit, f"its costs are in {costs.unit}, those of the file in {unit}")
    yield Finding(
        certificate.without_dear_exits == (times is not None and certificate.search is None),
        "candidates leave out the exits that cost more than they save just where costs are times, and routes none",
    )
    yield Finding(same(full, costs.full), f"the full cost is {full:g}; segments and last head make {costs.full:g}")
    for other, where in ((times, "those under cost"), (evidence.costs, "the file's")):
        if other is not None:
            yield Finding(_equal(costs, other), f"its costs ({_sum(costs)}) and {where} ({_sum(other)})")


def _equal(one: Costs, other: Costs) -> bool:
    names = ("segment", "head", "cumulative", "full")
    pairs = [(getattr(one, name), getattr(other, name)) for name in names]
    return one.n_exits == other.n_exits and all(
        a is b if a is None or b is None else np.allclose(a, b, rtol=1e-6, atol=0) for a, b in pairs
    )


def _sum(costs: Costs) -> str:
    return f"full {costs.full:g}, heads {'not known' if costs.head is None else f'{costs.head.sum():g}'}"


def _walk(
    policy: Policy, certificate: Certificate, claim: Claim, evidence: Evidence, done: Callable[[], object]
) -> Iterator[Finding]:
    """Confirm the chain, every step, where the walk ended, what it returned, and the figures of that."""
    name = CERTIFIED_ROUTES.get(policy.method, THRESHOLD.name)
    families = {PER_EXIT: ["accuracy_margin"], **{name: ["cuts"] for name in CERTIFIED_ROUTES}}
    known = families.get(policy.method, sorted(FAMILIES))
    text = f"its family is {certificate.family!r:.60}, one of {', '.join(known)}"
    findings = [
        Finding(certificate.family in known, text),
        Finding(policy.rule.name == name, f"its rule is {policy.rule.name!r}; method {policy.method} is of {name!r}"),
    ]
    if isinstance(policy.rule, RouteRule):
        findings += _search(certificate, name, evidence.certify.n_exits)
    yield from findings
    if not all(finding.confirmed for finding in findings):
        return
    if isinstance(policy.rule, RouteRule):
        rules = _cuts(policy, policy.rule.route, certificate, evidence.tune)
        yield from _route(policy.rule.route, rules[0].route, evidence.tune) if rules else ()
        chain = [rule.thresholds(evidence.tune.n_exits) for rule in rules]
    else:
        chain = _chain(policy, certificate, evidence)
    yield from chain_findings(certificate, chain)
    if len(certificate.steps) > len(chain):
        return  # not a walk along this chain; a file may state any number of steps
    yield from step_findings(certificate, claim, evidence.certify, policy, done)
    yield from end_findings(certificate, len(chain), policy.thresholds)
    costs = costs_under(evidence.content.scoring, certificate.costs.costs)
    yield from figure_findings(policy, evidence.certify, costs, "certify rows")


def _chain(policy: Policy, certificate: Certificate, evidence: Evidence) -> list[Thresholds]:
    """Return the chain that the certificate had to declare; it is derived once for those that share it."""
    scoring, tune = evidence.content.scoring, Tune(evidence.tune)
    costs = costs_under(scoring, certificate.costs.costs)
    if policy.method == PER_EXIT:
        declared = declare_exits(tune, len(evidence.certify), policy.target, costs, scoring.score)
        return [candidate.thresholds for candidate in declared]
    key = (certificate.family, certificate.costs)
    if key not in evidence.chains:
        derived = FAMILIES[certificate.family](tune, costs, scoring.score)
        evidence.chains[key] = [candidate.thresholds for candidate in derived]
    first = [full_network(evidence.tune.n_exits)] if policy.method == OVERALL else []
    return first + evidence.chains[key]


def _search(certificate: Certificate, name: str, n_exits: int) -> Iterator[Finding]:
    """Confirm that a certificate says what its route was chosen from."""
    search, costs = certificate.search, certificate.costs
    own = search is not None and search.route == name and (name != Placed.name or search.placement is not None)
    yield Finding(own, f"it says what {name!r} was chosen from on the tune fold")
    yield Finding(costs.segment is not None and costs.head is not None, "its costs have segments and heads")
    inside = search is not None and (search.start == "auto" or search.start < n_exits)
    yield Finding(inside, "its search starts at a side exit")


def _cuts(policy: Policy, route: Route, certificate: Certificate, tune: Outcomes) -> list[RouteRule]:
    """Return the chain of a route; arguments that are not chosen on the tune fold are those stated."""
    search = certificate.search
    assert search is not None, "confirmed before"
    start = None if search.start == "auto" else search.start - 1
    settings = RouteSettings(start, clamp=route.clamp, placement=search.placement or 0.0, cuts=search.cuts)
    settings = replace(settings, horizon=getattr(route, "horizon", settings.horizon))
    return declare_cuts(Routes(tune, tune, certificate.costs.costs, settings), route.name, policy.target)


def _route(stated: Route, own: Route, tune: Outcomes) -> Iterator[Finding]:
    """Confirm that a policy's route is the one that the tune fold gives; placed exits show in its thresholds."""
    yield Finding(stated.start == own.start, f"it starts at exit_{stated.start + 1}; derived: exit_{own.start + 1}")
    if not isinstance(stated, Learned) or not isinstance(own, Learned) or stated.start != own.start:
        return
    yield Finding(same(stated.cut, own.cut), f"it was fitted for the cut {stated.cut:.7g}; derived: {own.cut:.7g}")
    assert tune.predictors is not None, "the rows were read for this route"
    seen = [tune.predictors[:, own.start + k] for k in range(len(own.models))]
    models = zip(stated.models, own.models, seen, strict=True)
    gap = max((float(np.abs(a.expected(rows) - b.expected(rows)).max()) for a, b, rows in models), default=0.0)
    yield Finding(gap <= FIT, f"its learned costs differ by up to {gap:.2g} from a fit on the tune fold")


def _scoring(scoring: Scoring, tune: TuneRows) -> Iterator[Finding]:
    """Confirm temperatures other than 1, T of `activation` and the weights of `change` by a fit on the tune rows."""
    stated, folds = scoring.arguments or {}, tune.folds
    kind = "per_exit" if any(value != 1 for value in scoring.temperature.values()) else "none"
    if kind == "none" and not stated:
        return
    statistic = stated.get("statistic", "")
    own = fit_scoring(tune, scoring.score, kind, folds.tune_fraction, folds.fold_seed, statistic)
    numbers = [(f"temperature of {name}", given, own.temperature[name]) for name, given in scoring.temperature.items()]
    if statistic:
        again = (own.arguments or {})["thresholds"]
        numbers += [(f"T of {name} by {statistic}", given, again[name]) for name, given in stated["thresholds"].items()]
    for what, given, expected in numbers:
        close = abs(given - expected) <= 1e-6 * abs(expected) + 1e-9  # a mean near 0 has few digits
        yield Finding(close, f"{what} is {given:.7g}; the tune fold gives {expected:.7g}")
    if scoring.record.compares_exits:
        gap = max(np.abs(scoring(rows.logits) - own(rows.logits)).max(initial=0.0) for rows in tune.read())
        yield Finding(gap <= FIT, f"the weights of score 'change' differ: its log-odds by up to {gap:.2g} from a fit")
