"""What live answers cost under any policy: of a route, by the heads that every sample ran and the forecasts it got."""

import numpy as np
from numpy.typing import NDArray

from offramp.costs import MACS, Costs, from_parts
from offramp.named import Named
from offramp.predictive.accounting import step_costs, walk_costs
from offramp.predictive.rules import RouteRule
from offramp.predictive.walks import Walk
from offramp.runtime.stops import walks

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Mask = NDArray[np.bool_]


def paid(policy: Named, taken: Ints, visited: Mask | None, costs: Costs, n_classes: int) -> Floats:
    """Return what each sample costs, (samples,), that left at the exits `taken` (samples,).

    `visited` (samples, exits) are the heads it ran, as a route's runtime tells; else the thresholds say which. A
    forecast costs its MACs and, where costs are times, nothing: none was measured apart.
    """
    if not isinstance(policy.rule, RouteRule) or not walks(policy.rule):
        return policy.scoring.costs(costs).at_exits(_enabled(policy))[taken]
    assert visited is not None, "the runtime of a route says whose heads ran"
    route = policy.rule.route
    return walk_costs(_walk(taken, visited), costs, step_costs(route, costs, n_classes))


def heads(policy: Named, taken: Ints, visited: Mask | None) -> float:
    """Return how many heads a sample ran on average, the final classifier's among them; arguments as of `paid`."""
    if visited is not None:
        return float(visited.sum(axis=1).mean())
    n_exits = len(policy.thresholds)
    counted = from_parts(MACS, [0.0] * n_exits, [1.0] * n_exits)
    return float(policy.scoring.costs(counted).at_exits(_enabled(policy))[taken].mean())


def at_exits(paid_by: Floats, taken: Ints, n_exits: int) -> Floats:
    """Return the mean of what samples (samples,) paid that left at each exit, (exits,); NaN where nobody left."""
    samples = np.bincount(taken, minlength=n_exits)
    return np.divide(np.bincount(taken, paid_by, n_exits), samples, out=np.full(n_exits, np.nan), where=samples > 0)


def _enabled(policy: Named) -> list[bool]:
    return [threshold is not None for threshold in policy.thresholds]


def _walk(taken: Ints, visited: Mask) -> Walk:
    """Return the walk of samples: one was made at every head that ran, but for the exit taken and the last side exit.

    How far forecasts went costs nothing and is not kept: 1 stands for each.
    """
    jump = visited.astype(np.int16)
    jump[np.arange(len(taken)), taken] = 0
    jump[:, -2:] = 0
    return Walk(taken, visited, jump)
