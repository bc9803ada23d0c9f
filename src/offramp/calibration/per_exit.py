"""Method `per_exit`: at every side exit, those that exit there are right as often as the target asks.

The target holds at each exit, not overall: the last exit takes the hard samples that are left and is held to nothing.
"""

import math

import numpy as np
from numpy.typing import NDArray

from offramp.calibration.elimination import Enabled, eliminate
from offramp.policies.costs import Costs
from offramp.policies.outcomes import Outcomes
from offramp.policies.policy import Policy, Threshold, Thresholds, full_network, midway
from offramp.policies.replay import replay
from offramp.policies.rules import leaves


def per_exit(outcomes: Outcomes, costs: Costs, target: float) -> Policy:
    """Return, exit by exit over the samples that have not left yet, the largest confident group that meets `target`.

    The group is a prefix by uncertainty whose accuracy is at least the target, ties together; the threshold lies midway
    to the next uncertainty, or is infinite when everyone leaves. An exit without such a group is disabled. Infeasible
    when every side exit is; `nearest` is then the best accuracy of any group. Costs play no part unless they are times:
    then exits that take more than they save are disabled too, but for one, and groups chosen again without them.
    """
    n_exits = outcomes.n_exits
    thresholds, best = _groups(outcomes, target, (True,) * n_exits)
    if not any(threshold is not None for threshold in thresholds[:-1]):
        reason = f"no group of samples at any side exit has an accuracy of {target:g}; the best has {best:.4f}"
        if n_exits == 1:
            reason = "the network has no side exit"
        return Policy(full_network(n_exits), feasible=False, reason=reason, nearest=float(best))
    if not costs.measured:
        return Policy(thresholds)

    def cost_with(enabled: Enabled) -> float:
        chosen, _ = _groups(outcomes, target, enabled)
        some = any(threshold is not None for threshold in chosen[:-1])
        return replay(outcomes, Policy(chosen), costs).cost_ratio if some else math.inf

    return Policy(_groups(outcomes, target, eliminate(n_exits, cost_with))[0])


def _groups(outcomes: Outcomes, target: float, enabled: Enabled) -> tuple[Thresholds, float]:
    """Return the thresholds (exits,) of the largest groups at these exits, and the best accuracy of exits without."""
    thresholds: list[Threshold] = []
    best = 0.0
    staying = np.ones(len(outcomes), np.bool_)
    for k in range(outcomes.n_exits - 1):
        values, accuracy = group_accuracies(outcomes.uncertainty[staying, k], outcomes.correct[staying, k])
        meets = np.flatnonzero((accuracy >= target) & enabled[k])
        if len(meets) == 0:
            best = max(best, accuracy.max(initial=0.0))
            thresholds.append(None)
            continue
        last = meets[-1]
        threshold = midway(values[last], values[last + 1]) if last + 1 < len(values) else math.inf
        thresholds.append(threshold)
        staying &= ~leaves(outcomes.uncertainty[:, k], threshold)
    return (*thresholds, math.inf), best


def group_accuracies(
    uncertainty: NDArray[np.float64], correct: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the distinct uncertainties, ascending, and the accuracy of all samples up to each of them.

    Both are empty for no samples. Counts are whole numbers and are divided once, so that a target written as a decimal
    fraction is met exactly when it is.
    """
    order = np.argsort(uncertainty, kind="stable")
    values = uncertainty[order]
    group_ends = np.flatnonzero(np.append(values[1:] > values[:-1], len(values) > 0))
    return values[group_ends], np.cumsum(correct[order])[group_ends] / (group_ends + 1)
