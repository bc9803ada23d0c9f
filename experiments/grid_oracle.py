"""The exact optimum over a grid of thresholds: every policy with one of B thresholds per side exit, all at once.

A sample's fate under all of them hangs on its bins alone: bin k is the first threshold of exit k that lets it leave
there. Who reaches exit k + 1 is then a reverse cumulative histogram of (bin_1 … bin_k), and k of these give accuracy
and cost of all B^(E − 1) policies. Memory grows likewise: B = 20 is for E ≤ 6. Heads must have costs of their own.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.policies.costs import Costs
from offramp.policies.outcomes import Outcomes

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """Correct answers and mean cost of all policies, each (B,) * side exits; index 0 of an axis: exit disabled.

    Index b > 0 of axis k is the threshold `edges[k][b - 1]`; the last edge is infinite.
    """

    edges: Floats  # (side exits, B - 1)
    n_correct: NDArray[np.int64]
    mean_cost: Floats

    def cheapest(self, at_least: int) -> tuple[float, tuple[float | None, ...]]:
        """Return mean cost and thresholds of the cheapest policy with so many correct answers; infinity for none."""
        cost = np.where(self.n_correct >= at_least, self.mean_cost, np.inf)
        best = np.unravel_index(cost.argmin(), cost.shape)
        side = [None if b == 0 else float(self.edges[k, b - 1]) for k, b in enumerate(best)]
        return float(cost[best]), (*side, np.inf)


def grid_policies(outcomes: Outcomes, costs: Costs, n_options: int) -> Grid:
    """Return the grid of `n_options` per side exit: disabled, or a quantile of all samples' uncertainties there."""
    assert costs.segment is not None and costs.head is not None, "the grid needs the heads' own costs"
    n_side = outcomes.n_exits - 1
    shares = np.linspace(0, 1, n_options)[1:]
    edges = np.quantile(outcomes.uncertainty[:, :n_side], shares, axis=0, method="inverted_cdf").T
    edges[:, -1] = np.inf
    enabled = (np.arange(n_options) > 0).astype(float)
    place = np.zeros(len(outcomes), np.int64)  # of a sample's bins so far in the flattened histogram
    reach, n_correct, cost = np.array(len(outcomes)), np.array(0), np.array(0.0)
    for k in range(n_side):
        # Option b lets pass who needs a threshold after edges[k][b - 1]: whose first sufficient edge is b or later.
        place = place * n_options + np.searchsorted(edges[k], outcomes.uncertainty[:, k])
        right = _stay(place[outcomes.correct[:, k]], n_options, k + 1)
        n_correct = n_correct[..., None] + right[..., :1] - right
        cost = cost[..., None] + reach[..., None] * (costs.segment[k] + costs.head[k] * enabled)
        reach = _stay(place, n_options, k + 1)
    n_correct = n_correct + _stay(place[outcomes.correct[:, -1]], n_options, n_side)
    cost = cost + reach * (costs.segment[-1] + costs.head[-1])
    return Grid(edges, n_correct, cost / len(outcomes))


def _stay(place: NDArray[np.int64], n_options: int, n_exits: int) -> NDArray[np.int64]:
    """Return how many of these samples all thresholds up to here let pass: a count for each (n_options,) * n_exits."""
    counts = np.bincount(place, minlength=n_options**n_exits).reshape((n_options,) * n_exits)
    for axis in range(n_exits):
        counts = np.flip(np.flip(counts, axis).cumsum(axis), axis)
    return counts
