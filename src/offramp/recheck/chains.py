"""The chains of candidates, derived again from the tune fold; and where samples leave, and what that costs.

Thresholds are tuples (exits,): a sample leaves at the first exit whose uncertainty is at most its threshold; None: not
there; the last exit takes everybody.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit

from offramp.recheck.costs_schema import StatedCosts
from offramp.recheck.fits import fitted_log_odds
from offramp.recheck.rows import Table

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Threshold = float | None
Thresholds = tuple[Threshold, ...]
THINNING = 0.004  # of the full network's cost: a candidate saves so much more on the tune fold than the one before
EQUAL = 1e-9  # relative: costs that differ by less do not differ
LEVELS = np.linspace(0, 0.97, 400)  # quantiles of all estimates that equal_change tries
RATIOS = np.geomspace(30, 0.05, 300)
MARGINS = [round(8 - step / 10, 1) for step in range(81)]  # standard errors


def leave_at(uncertainty: Floats, thresholds: Thresholds) -> Ints:
    """Return the exit (from 0) at which each sample leaves, for uncertainties (samples, exits)."""
    last = len(thresholds) - 1
    taken = np.full(len(uncertainty), last)
    for k in reversed(range(last)):
        threshold = thresholds[k]
        if threshold is not None:
            taken[uncertainty[:, k] <= threshold] = k
    return taken


def cost_ratio(taken: Ints, thresholds: Thresholds, costs: StatedCosts, every_head: bool) -> float:
    """Return the mean cost of samples that leave at `taken`, as a fraction of the full network's."""
    paid = np.array(cost_at_exits(thresholds, costs, every_head))
    counts = np.bincount(taken, minlength=len(paid))
    return float(counts @ paid / len(taken)) / costs.full


def cost_at_exits(thresholds: Thresholds, costs: StatedCosts, every_head: bool) -> list[float]:
    """Return what a sample pays that leaves at each exit: segments so far and heads that run.

    `every_head`: a head also runs where a later side exit is enabled. Without separate heads nothing is refunded, but
    the full network's cost is known.
    """
    side = [threshold is not None for threshold in thresholds[:-1]]
    if costs.segment is None or costs.head is None:
        assert costs.cumulative is not None, "costs are of one kind or the other"
        return list(costs.cumulative) if any(side) else [costs.full] * len(thresholds)
    runs = [here or (every_head and any(side[k:])) for k, here in enumerate(side)] + [True]
    parts = [head if run else 0.0 for head, run in zip(costs.head, runs, strict=True)]
    return [float(trunk + heads) for trunk, heads in zip(np.cumsum(costs.segment), np.cumsum(parts), strict=True)]


def full_network(n_exits: int) -> Thresholds:
    return (None,) * (n_exits - 1) + (math.inf,)


def equal_change(tune: Table, score: str) -> Iterator[Thresholds]:
    """Yield candidates in which every exit lets go up to the same estimated probability of changing the answer.

    An exit's estimate is a logistic regression on its uncertainty, made monotone by its running maximum; levels are
    quantiles of all exits' estimates.
    """
    exits = []
    for k in range(tune.n_exits - 1):
        value = tune.uncertainty[:, k]
        order = np.argsort(value, kind="stable")
        estimate = value if score == "change" else fitted_log_odds(regressors(value, score), tune.changed[:, k])
        exits.append((value[order], np.maximum.accumulate(estimate[order])))
    levels = np.quantile(np.concatenate([estimate for _, estimate in exits]), LEVELS)
    for level in sorted(set(levels.tolist())):
        yield (*(first_leave(value, int((estimate <= level).sum())) for value, estimate in exits), math.inf)


def geometric(tune: Table, score: str) -> Iterator[Thresholds]:  # noqa: ARG001 (as equal_change)
    """Yield candidates in which exit k lets go of those still there a share in proportion to ratio^k."""
    last = tune.n_exits - 1
    for ratio in RATIOS:
        share = [ratio**k for k in range(last + 1)]
        here = np.ones(len(tune), np.bool_)
        thresholds: list[Threshold] = []
        for k in range(last):
            value = np.sort(tune.uncertainty[here, k])
            threshold = first_leave(value, round(len(value) * share[k] / sum(share[k:])))
            thresholds.append(threshold)
            if threshold is not None:
                here &= tune.uncertainty[:, k] > threshold
        yield (*thresholds, math.inf)


FAMILIES = {"equal_change": equal_change, "geometric": geometric}


def thinned(candidates: Iterable[Thresholds], tune: Table, costs: StatedCosts, every_head: bool) -> list[Thresholds]:
    """Return those that cost at least THINNING less on the tune fold than the one before; the full network costs 1."""
    kept, cheapest = [], 1.0
    for candidate in candidates:
        thresholds = worthwhile(candidate, tune, costs, every_head)
        ratio = cost_ratio(leave_at(tune.uncertainty, thresholds), thresholds, costs, every_head)
        if ratio <= cheapest - THINNING:
            kept.append(thresholds)
            cheapest = ratio
    return kept


def worthwhile(thresholds: Thresholds, tune: Table, costs: StatedCosts, every_head: bool) -> Thresholds:
    """Return the thresholds, for times without the side exits that take longer on the tune fold than they save.

    One exit at a time is given up, that which saves most, the first of equals, as long as one saves anything.
    """
    if costs.unit != "ms":
        return thresholds
    paid = cost_ratio(leave_at(tune.uncertainty, thresholds), thresholds, costs, every_head)
    while True:
        cheaper: list[tuple[float, Thresholds]] = []
        for k, threshold in enumerate(thresholds[:-1]):
            if threshold is not None:
                fewer = (*thresholds[:k], None, *thresholds[k + 1 :])
                cheaper.append((cost_ratio(leave_at(tune.uncertainty, fewer), fewer, costs, every_head), fewer))
        lowest = min((ratio for ratio, _ in cheaper), default=math.inf)
        if not lowest < paid * (1 - EQUAL):
            return thresholds
        paid, thresholds = next(option for option in cheaper if option[0] * (1 - EQUAL) <= lowest)


def accuracy_margin(
    tune: Table, n_certify: int, score: str, target: float, costs: StatedCosts, every_head: bool
) -> list[Thresholds]:
    """Return the chain of certified_per_exit: the safety margin falls; each candidate once, those with a side exit."""
    chain: list[Thresholds] = []
    known: dict[tuple[int, bytes], tuple[Floats, Floats]] = {}
    for margin in MARGINS:
        here = np.ones(len(tune), np.bool_)
        thresholds: list[Threshold] = []
        for k in range(tune.n_exits - 1):
            key = (k, here.tobytes())  # the first exits see the same samples at every margin
            if key not in known:
                known[key] = _smoothed(tune.uncertainty[here, k], tune.correct[here, k], score)
            value, accuracy = known[key]
            expected = np.arange(1, len(value) + 1) * n_certify / len(tune)
            clears = accuracy >= target + margin * np.sqrt(target * (1 - target) / expected)
            threshold = first_leave(value, int(np.flatnonzero(clears)[-1]) + 1) if clears.any() else None
            thresholds.append(threshold)
            if threshold is not None:
                here &= ~(tune.uncertainty[:, k] <= threshold)
        candidate = worthwhile((*thresholds, math.inf), tune, costs, every_head)
        if candidate not in chain and candidate != full_network(tune.n_exits):
            chain.append(candidate)
    return chain


def _smoothed(value: Floats, correct: NDArray[np.bool_], score: str) -> tuple[Floats, Floats]:
    """Return uncertainties, ascending, and the mean fitted accuracy of all up to each of them."""
    if len(value) == 0:
        return value, value
    order = np.argsort(value, kind="stable")
    fitted = expit(fitted_log_odds(regressors(value[order], score), correct[order]))
    return value[order], np.cumsum(fitted) / np.arange(1, len(value) + 1)


def regressors(value: Floats, score: str) -> Floats:
    """Return a positive quantity of an uncertainty and its logarithm, (samples, 2); without one, the uncertainty."""
    if score == "entropy":
        return np.stack([value, np.log(np.maximum(value, 1e-300))], axis=1)
    if score == "least_confidence":
        return np.stack([expit(value), log_expit(value)], axis=1)
    if score == "margin":
        return np.stack([np.exp(value), value], axis=1)
    return value[:, None]


def first_leave(value: Floats, count: int) -> Threshold:
    """Return the threshold midway after the first `count` of ascending values, and all equal to the last of them."""
    if count == 0:
        return None
    last = float(value[count - 1])
    above = value[value > last]
    if len(above) == 0:
        return math.inf
    middle = last + (float(above[0]) - last) / 2
    return middle if middle < above[0] else last


def same_thresholds(given: Sequence[Threshold], expected: Sequence[Threshold]) -> bool:
    """Return whether thresholds are equal: numbers to 1e-6 of their size, disabled and infinite ones exactly."""
    if len(given) != len(expected):
        return False
    return all(_same(a, b) for a, b in zip(given, expected, strict=True))


def _same(given: Threshold, expected: Threshold) -> bool:
    if given is None or expected is None or math.isinf(given) or math.isinf(expected):
        return given == expected
    return abs(given - expected) <= 1e-6 * max(abs(given), abs(expected))
