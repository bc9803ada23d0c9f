"""The walk of a certificate, step by step, held against the chain derived again and the certify rows."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from offramp.recheck.chains import Thresholds, same_thresholds
from offramp.recheck.claims import Claim
from offramp.recheck.costs_schema import StatedCosts
from offramp.recheck.report import Finding, same
from offramp.recheck.routes import exits_of, ratio_of
from offramp.recheck.rows import Table
from offramp.recheck.schema import Certificate, Step, finite

RATIOS = ("mac_ratio", "latency_ratio")  # of costs in MACs and in ms
FIGURE = 1e-9  # relative, of figures that are quotients of counts
LARGEST = 1e300  # a whole number beyond has no float
ROUNDING = 1e-9  # of a threshold: a row so near to it may be on either side


def chain_findings(certificate: Certificate, chain: Sequence[Thresholds]) -> Iterator[Finding]:
    """Confirm that the declared chain is the one derived again, and that the steps are its candidates in order."""
    yield Finding(
        certificate.declared == len(chain),
        f"declared {certificate.declared} candidates; the tune fold gives {len(chain)}",
    )
    pairs = list(zip((finite(step.thresholds) for step in certificate.steps), chain, strict=False))
    wrong = [number for number, pair in enumerate(pairs, start=1) if not same_thresholds(*pair)]
    text = f"{len(pairs)} steps are the declared candidates in order"
    if len(certificate.steps) > len(chain):
        text = f"{len(certificate.steps)} steps of a chain of {len(chain)}"
    elif wrong:
        given, expected = pairs[wrong[0] - 1]
        text = f"step {wrong[0]} has thresholds {_words(given)}; derived from the tune fold {_words(expected)}"
        text += f" ({len(wrong)} steps differ)" if len(wrong) > 1 else ""
    yield Finding(not wrong and len(certificate.steps) <= len(chain), text)


def step_findings(certificate: Certificate, claim: Claim, rows: Table, done: Callable[[], object]) -> Iterator[Finding]:
    """Confirm counts and p-value of every step on the certify rows; `done` is called after each."""
    wrong_counts, wrong_p = [], []
    for number, step in enumerate(certificate.steps, start=1):
        expected = _counts(claim, rows, step)
        if step.counts != expected:
            wrong_counts.append(f"step {number} counts {_table(step.counts)}; the certify rows give {_table(expected)}")
        own = claim.p_value(len(rows), expected)
        if not claim.agrees(step.p_value, own):
            wrong_p.append(f"step {number} states p = {step.p_value:.6g}; summed again it is {own:.6g}")
        done()
    yield _first(wrong_counts, "all counts are those of the certify rows")
    yield _first(wrong_p, "all p-values are confirmed")


def end_findings(certificate: Certificate, chain: Sequence[Thresholds], deployed: Thresholds) -> Iterator[Finding]:
    """Confirm that the walk stopped where it had to, not before, and that its last success is the policy."""
    steps, returned, level = certificate.steps, certificate.returned, certificate.level
    failed = [number for number, step in enumerate(steps[:returned], start=1) if step.p_value > level]
    text = f"all {returned} steps up to the one returned have p <= {level:g}"
    if failed:
        p = steps[failed[0] - 1].p_value
        text = f"step {failed[0]} of the {returned} that count as passed has p = {p:.6g} > {level:g}"
    yield Finding(not failed, text)
    yield _stopped(certificate, len(chain))
    last = finite(steps[returned - 1].thresholds)
    text = f"its thresholds are those of step {returned}, the last that passed"
    if deployed != last:
        text = f"its thresholds are {_words(deployed)}; step {returned}, the one returned, has {_words(last)}"
    yield Finding(deployed == last, text)


def label_findings(certificate: Certificate, claim: Claim, rows: Table) -> Iterator[Finding]:
    """Confirm how many labels the tests read; a step that stopped for want of labels read none."""
    read = np.zeros(len(rows), np.bool_)
    for step in certificate.steps:
        thresholds = finite(step.thresholds)
        if "unlabelled" not in claim.counts(rows, thresholds):
            read |= claim.labels_needed(rows, thresholds)
    used = int(read.sum())
    yield Finding(certificate.labels_used == used, f"labels_used is {certificate.labels_used}; counted {used}")


def figure_findings(
    stated: object,
    thresholds: Thresholds,
    rows: Table,
    costs: StatedCosts | None,
    every_head: bool,
    which: str = "certify rows",
) -> Iterator[Finding]:
    """Confirm the figures under `validation`, which are those of the rows called `which`; not the cost without costs.

    Accuracies exist where every row has a label: rows may have been labelled since, or before, which alters no test.
    """
    given, expected = _flat(stated), _flat(figures(thresholds, rows, costs, every_head))
    optional = ("accuracy", "loss") if costs is not None else ("accuracy", "loss", *RATIOS)
    one_sided = {key for key in set(given) ^ set(expected) if key.split(".")[-1] in optional}
    wrong = [
        key
        for key in expected
        if key not in one_sided and (key not in given or not same(given[key], expected[key], FIGURE))
    ]
    extra = sorted(set(given) - set(expected) - one_sided)
    text = f"validation figures are those of the {which}"
    if wrong:
        number = f"{given[wrong[0]]:.6g}" if wrong[0] in given else "missing"
        text = f"validation {wrong[0]} is {number}; the {which} give {expected[wrong[0]]:.6g}"
    elif extra:
        text = f"validation has {extra[0]!r:.60}, which is no figure of a policy"
    yield Finding(not wrong and not extra, text)


def figures(thresholds: Thresholds, rows: Table, costs: StatedCosts | None, every_head: bool) -> dict[str, object]:
    """Return accuracy, loss, cost and each exit's share and accuracy; without labels or costs what needs none."""
    taken = exits_of(rows, thresholds)
    right = rows.correct[np.arange(len(rows)), taken]
    every_label = bool(rows.labelled.all())
    exits: dict[str, dict[str, float]] = {}
    for k in range(rows.n_exits):
        here = taken == k
        exits[f"exit_{k + 1}"] = {"share": int(here.sum()) / len(rows)}
        if every_label and here.any():
            exits[f"exit_{k + 1}"]["accuracy"] = int(right[here].sum()) / int(here.sum())
    found: dict[str, object] = {"exits": exits}
    if costs is not None:
        found[RATIOS[costs.unit == "ms"]] = ratio_of(rows, thresholds, costs, every_head)
    if every_label:
        n_right, n_full = int(right.sum()), int(rows.correct[:, -1].sum())
        found |= {"accuracy": n_right / len(rows), "loss": (n_full - n_right) / len(rows)}
    return found


def _counts(claim: Claim, rows: Table, step: Step) -> dict[str, int]:
    """Return the counts of a step; the stated ones where rows within rounding of a threshold explain the difference."""
    thresholds = finite(step.thresholds)
    counts = claim.counts(rows, thresholds)
    for nudge in (ROUNDING, -ROUNDING):
        if counts == step.counts:
            break
        nudged = tuple(t if t is None else t + nudge * abs(t) for t in thresholds)
        if claim.counts(rows, nudged) == step.counts:
            return step.counts
    return counts


def _stopped(certificate: Certificate, declared: int) -> Finding:
    """Confirm that exactly one tested step follows the last success and fails, or that the chain ended there."""
    n, returned, level = len(certificate.steps), certificate.returned, certificate.level
    if returned == n:
        return Finding(n == declared, f"{n} steps passed and none failed, in a chain of {declared} candidates")
    after = certificate.steps[returned]
    if n > returned + 1:
        return Finding(False, f"{n} steps were tested although step {returned + 1} is the first failure")
    relation = ">" if after.p_value > level else "<="
    return Finding(
        after.p_value > level, f"step {returned + 1} stopped the walk with p = {after.p_value:.6g} {relation} {level:g}"
    )


def _first(wrong: list[str], confirmed: str) -> Finding:
    more = f" ({len(wrong)} steps differ)" if len(wrong) > 1 else ""
    return Finding(not wrong, wrong[0] + more if wrong else confirmed)


def _words(thresholds: Thresholds) -> str:
    return "(" + ", ".join("none" if t is None else f"{t:.7g}" for t in thresholds) + ")"


def _table(counts: dict[str, int]) -> str:
    return ", ".join(f"{key:.30} {number}" for key, number in list(counts.items())[:12]) or "nothing"


def _flat(value: object, name: str = "") -> dict[str, float]:
    """Return nested numbers under dotted names; what is no number is NaN, which equals nothing."""
    if isinstance(value, dict):
        inner = (_flat(part, f"{name}.{key}" if name else str(key)) for key, part in value.items())
        return {key: number for part in inner for key, number in part.items()}
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST:
        return {name: float(value)}
    return {name: math.nan}
