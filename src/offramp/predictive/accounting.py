"""What a walk costs: the trunk up to where a sample leaves, every head it ran, every forecast it was given.

A forecast's additions are MACs, one each: small as they are, they are not free. Its unit is that of the costs; for
times, what a forecast takes has to be measured and given.
"""

import numpy as np

from offramp.costs import MACS, Costs
from offramp.errors import InputError
from offramp.predictive.evidence import Ints
from offramp.predictive.walks import Route, Walk
from offramp.uncertainty import Floats


def parts(costs: Costs) -> tuple[Floats, Floats]:
    """Return segments and heads, (exits,) each. Raises InputError where only their sums are known."""
    if costs.segment is None or costs.head is None:
        raise InputError(
            "the costs file holds only cumulative costs; a route that skips heads needs segment and head of every exit"
        )
    return costs.segment, costs.head


def walk_costs(walk: Walk, costs: Costs, step: Floats | None = None) -> Floats:
    """Return what each sample of a walk costs, (samples,); `step` (exits,) is what a forecast there costs, else 0."""
    segment, head = parts(costs)
    paid = np.cumsum(segment)[walk.taken] + walk.visited @ head
    return paid if step is None else paid + (walk.jump > 0) @ step


def step_costs(route: Route, costs: Costs, n_classes: int) -> Floats | None:
    """Return what a route's forecasts cost, (exits,), in MACs; None where costs are times and none was measured."""
    return route.step_macs(costs.n_exits, n_classes) if costs.unit == MACS else None


def heads_per_sample(walk: Walk) -> float:
    """Return how many heads a sample runs on average, the final classifier's among them."""
    return float(walk.heads.mean())


def exit_counts(walk: Walk) -> Ints:
    """Return how many samples leave at each exit, (exits,)."""
    return np.asarray(np.bincount(walk.taken, minlength=walk.visited.shape[1]), np.intp)
