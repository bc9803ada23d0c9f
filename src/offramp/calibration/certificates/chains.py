"""Families of policies with one degree of freedom, from safe to cheap: the order in which certificates walk.

Both need no labels and see the tune fold alone. A chain starts after the full network; every further candidate costs at
least `STEP` less on the tune fold than the one before. Where costs are times, a candidate leaves out exits that take
longer on that fold than they save.
"""

from collections.abc import Callable, Iterator
from math import inf

import numpy as np
from numpy.typing import NDArray

from offramp.calibration.elimination import without_dear_exits
from offramp.calibration.folds import Tune
from offramp.policies.costs import Costs
from offramp.policies.outcomes import Outcomes
from offramp.policies.policy import Policy, Threshold, Thresholds, midway
from offramp.policies.replay import replay
from offramp.policies.rules import leaves
from offramp.scores.registry import Score, score_named
from offramp.statistics.logistic import fit_logistic

Floats = NDArray[np.float64]
STEP = 0.004  # of the full network's cost
LEVELS = 400
RATIOS = np.geomspace(30, 0.05, 300)


def equal_change(tune: Tune, costs: Costs, score: str) -> list[Policy]:
    """Return the chain in which every exit lets samples go up to the same probability of changing the answer.

    Per side exit a logistic regression on its own uncertainty estimates P(its answer is not the last exit's); the
    running maximum makes it monotone. A level sets all thresholds: the largest uncertainty with an estimate of at most
    the level. Levels are quantiles of all estimates. Empty for an empty fold or a network of one exit.
    """
    rows = tune.rows
    if len(rows) == 0 or rows.n_exits == 1:
        return []
    exits = [
        _estimates(rows.uncertainty[:, k], ~rows.agrees[:, k], score_named(score)) for k in range(rows.n_exits - 1)
    ]
    levels = np.quantile(np.concatenate([estimate for _, estimate in exits]), np.linspace(0, 0.97, LEVELS))
    return _thin(((*(_cut(*pair, level) for pair in exits), inf) for level in np.unique(levels)), rows, costs)


def geometric(tune: Tune, costs: Costs, score: str) -> list[Policy]:  # noqa: ARG001 (every family takes a score)
    """Return the chain in which exit k takes a share of samples proportional to ratio^k, ratio falling from 30 to 0.05.

    Thresholds are quantiles of those still there. Empty for an empty fold or a network of one exit.
    Reference: the dynamic evaluation of Huang et al. (2018), Multi-scale dense networks, ICLR.
    """
    rows = tune.rows
    if len(rows) == 0 or rows.n_exits == 1:
        return []
    return _thin((_geometric_thresholds(rows.uncertainty, ratio) for ratio in RATIOS), rows, costs)


FAMILIES: dict[str, Callable[[Tune, Costs, str], list[Policy]]] = {
    "equal_change": equal_change,
    "geometric": geometric,
}


def _estimates(uncertainty: Floats, changes: NDArray[np.bool_], score: Score) -> tuple[Floats, Floats]:
    """Return an exit's uncertainties, ascending, and the log-odds of a change at each; both (samples,)."""
    values = np.sort(uncertainty)
    if score.is_log_odds:
        return values, values
    fit = fit_logistic(score.regressors(uncertainty), changes)
    return values, np.maximum.accumulate(fit.log_odds(score.regressors(values)))


def _cut(values: Floats, estimates: Floats, level: float) -> Threshold:
    """Return the threshold after the last uncertainty with an estimate of at most `level`; None: there is none."""
    count = int(np.searchsorted(estimates, level, side="right"))
    return after(values, count)


def after(values: Floats, count: int) -> Threshold:
    """Return the threshold at which the `count` smallest of ascending values exit, ties included; None for 0."""
    if count == 0:
        return None
    count = int(np.searchsorted(values, values[count - 1], side="right"))
    return inf if count == len(values) else midway(values[count - 1], values[count])


def _geometric_thresholds(uncertainty: Floats, ratio: float) -> Thresholds:
    n_exits = uncertainty.shape[1]
    share = ratio ** np.arange(n_exits)
    left = np.ones(len(uncertainty), np.bool_)
    thresholds: list[Threshold] = []
    for k in range(n_exits - 1):
        values = np.sort(uncertainty[left, k])
        threshold = after(values, round(len(values) * share[k] / share[k:].sum()))
        thresholds.append(threshold)
        if threshold is not None:
            left &= ~leaves(uncertainty[:, k], threshold)
    return (*thresholds, inf)


def affordable(thresholds: Thresholds, rows: Outcomes, costs: Costs) -> Thresholds:
    """Return the candidate, where costs are times without exits that cost more on these rows than they save."""
    return without_dear_exits(thresholds, rows.uncertainty, costs) if costs.measured else thresholds


def _thin(family: Iterator[Thresholds], rows: Outcomes, costs: Costs) -> list[Policy]:
    """Keep what costs at least STEP less on these rows than the candidate before, the full network the first."""
    chain: list[Policy] = []
    cheapest = 1.0
    for candidate in family:
        policy = Policy(affordable(candidate, rows, costs))
        ratio = replay(rows, policy, costs).cost_ratio
        if ratio <= cheapest - STEP:
            chain.append(policy)
            cheapest = ratio
    return chain
