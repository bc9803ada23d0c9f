"""The steps of a certificate: compared with the derived chain, counted and summed again; where it stopped and why."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from offramp.check.claims import Claim
from offramp.check.report import Finding, same
from offramp.policies.certificate import Certificate
from offramp.policies.costs import MACS, RATIOS, Costs, from_parts
from offramp.policies.outcomes import Outcomes
from offramp.policies.policy import Policy, Thresholds
from offramp.policies.replay import replay
from offramp.policies.routes.rule import RouteRule

FIGURE = 1e-9  # relative, of figures that are quotients of counts
DEEPEST = 3  # levels of figures; a file may nest more
LARGEST = 1e300  # a whole number beyond has no float


def chain_findings(certificate: Certificate, chain: Sequence[Thresholds]) -> Iterator[Finding]:
    """Confirm that the declared chain is the one derived again, and that the steps are its candidates in order."""
    n, declared = len(certificate.steps), certificate.declared
    yield Finding(declared == len(chain), f"declared {declared} candidates; the tune fold gives {len(chain)}")
    if n > len(chain):
        yield Finding(False, f"{n} steps of a chain of {len(chain)}")
        return
    wrong = [
        f"step {number} has thresholds {_words(step.thresholds)}; derived from the tune fold {_words(expected)}"
        for number, (step, expected) in enumerate(zip(certificate.steps, chain, strict=False), start=1)
        if not _equal(step.thresholds, expected)
    ]
    yield _first(wrong, f"{n} steps are the declared candidates in order")


def step_findings(
    certificate: Certificate, claim: Claim, rows: Outcomes, policy: Policy, done: Callable[[], object]
) -> Iterator[Finding]:
    """Confirm counts and p-value of every step on the certify rows, and how many labels they read.

    `done` is called after each step. One that stopped for want of labels read none.
    """
    wrong_counts, wrong_p, read = [], [], np.zeros(len(rows), np.bool_)
    for number, step in enumerate(certificate.steps, start=1):
        candidate = _candidate(policy, step.thresholds)
        expected = claim.counts(rows, candidate)
        if step.counts != expected:
            wrong_counts.append(f"step {number} counts {_table(step.counts)}; the certify rows give {_table(expected)}")
        own = claim.p_value(len(rows), expected)
        if not claim.agrees(step.p_value, own):
            wrong_p.append(f"step {number} states p = {step.p_value:.6g}; summed again it is {own:.6g}")
        if "unlabelled" not in expected:
            read |= claim.labels_needed(rows, candidate)
        done()
    yield _first(wrong_counts, "all counts are those of the certify rows")
    yield _first(wrong_p, "all p-values are confirmed")
    used = int(read.sum())
    yield Finding(certificate.labels_used == used, f"labels_used is {certificate.labels_used}; counted {used}")


def end_findings(certificate: Certificate, n_chain: int, deployed: Thresholds) -> Iterator[Finding]:
    """Confirm that the walk stopped where it had to, not before, and that its last success is the policy."""
    steps, returned, level = certificate.steps, certificate.returned, certificate.level
    failed = [
        f"step {number} of the {returned} that count as passed has p = {step.p_value:.6g} > {level:g}"
        for number, step in enumerate(steps[:returned], start=1)
        if step.p_value > level
    ]
    yield _first(failed, f"all {returned} steps up to the one returned have p <= {level:g}")
    yield _stopped(certificate, n_chain)
    last = steps[returned - 1].thresholds
    text = f"its thresholds are {_words(deployed)}; step {returned}, the one returned, has {_words(last)}"
    yield Finding(deployed == last, text)


def _stopped(certificate: Certificate, n_chain: int) -> Finding:
    """Confirm that exactly one tested step follows the last success and fails, or that the chain ended there."""
    n, returned, level = len(certificate.steps), certificate.returned, certificate.level
    if returned == n:
        return Finding(n == n_chain, f"{n} steps passed and none failed, in a chain of {n_chain} candidates")
    if n > returned + 1:
        return Finding(False, f"{n} steps were tested although step {returned + 1} is the first failure")
    p = certificate.steps[returned].p_value
    relation = ">" if p > level else "<="
    return Finding(p > level, f"step {returned + 1} stopped the walk with p = {p:.6g} {relation} {level:g}")


def figure_findings(policy: Policy, rows: Outcomes, costs: Costs | None, which: str) -> Iterator[Finding]:
    """Confirm the figures under `validation`, which are those of the rows called `which`; not the cost without costs.

    Accuracies exist where every row has a label: rows may have been labelled since, or before, which alters no test.
    """
    given, expected = _flat(policy.validation), _flat(_figures(policy, rows, costs))
    optional = ("accuracy", "loss") if costs is not None else ("accuracy", "loss", *RATIOS.values())
    one_sided = {key for key in set(given) ^ set(expected) if key.split(".")[-1] in optional}
    wrong = [
        f"validation {key} is {f'{given[key]:.6g}' if key in given else 'missing'}; the {which} give {value:.6g}"
        for key, value in expected.items()
        if key not in one_sided and not same(given.get(key, math.nan), value, FIGURE)
    ]
    extra = sorted(set(given) - set(expected) - one_sided)
    wrong += [f"validation has {key!r:.60}, which is no figure of a policy" for key in extra]
    yield Finding(not wrong, wrong[0] if wrong else f"validation figures are those of the {which}")


def _figures(policy: Policy, rows: Outcomes, costs: Costs | None) -> dict[str, object]:
    """Return accuracy, loss, cost and each exit's share and accuracy; without labels or costs what needs none."""
    if len(rows) == 0:
        return {}
    result = replay(rows, policy, costs or from_parts(MACS, [1] * rows.n_exits, [1] * rows.n_exits))
    found: dict[str, object] = {result.ratio: result.cost_ratio} if costs else {}
    exits = result.exits(rows.exits)
    if not rows.labelled.all():
        return found | {"exits": {name: {"share": row["share"]} for name, row in exits.items()}}
    loss = float(rows.correct[:, -1].mean()) - result.accuracy
    return found | {"accuracy": result.accuracy, "loss": loss, "exits": exits}


def _candidate(policy: Policy, thresholds: Thresholds) -> Policy:
    """Return the policy with other thresholds; those of a route are its cut at every exit that it may look at."""
    if not isinstance(policy.rule, RouteRule):
        return replace(policy, thresholds=thresholds)
    cut = next((threshold for threshold in thresholds[:-1] if threshold is not None), -math.inf)
    return replace(policy, thresholds=thresholds, rule=RouteRule(policy.rule.route, cut))


def _equal(given: Thresholds, expected: Thresholds) -> bool:
    pairs = zip(given, expected, strict=True)  # numbers to 1e-6 of their size
    return all(a is b if a is None or b is None else same(a, b) for a, b in pairs)


def _first(wrong: list[str], confirmed: str) -> Finding:
    more = f" ({len(wrong)} steps differ)" if len(wrong) > 1 else ""
    return Finding(not wrong, wrong[0] + more if wrong else confirmed)


def _words(thresholds: Thresholds) -> str:
    return "(" + ", ".join("none" if t is None else f"{t:.7g}" for t in thresholds) + ")"


def _table(counts: dict[str, int]) -> str:
    return ", ".join(f"{key} {number}" for key, number in list(counts.items())[:12]) or "nothing"


def _flat(value: object, name: str = "") -> dict[str, float]:
    """Return nested numbers under dotted names; what is no number is NaN, which equals nothing."""
    if isinstance(value, Mapping) and name.count(".") < DEEPEST:
        inner = (_flat(part, f"{name}.{key}" if name else str(key)) for key, part in value.items())
        return {key: number for part in inner for key, number in part.items()}
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST:
        return {name: float(value)}
    return {name: math.nan}
