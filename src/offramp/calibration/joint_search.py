"""Near-optimal thresholds for all exits together: the search that `overall` and `budget` share.

A cut is a threshold counted in distinct uncertainties: 0 disables an exit, c lets the c lowest leave. Given the others,
a cut, or a pair of cuts, is chosen by running sums over the samples that reach it. Three steps:

1. a path of Lagrangian optima, right answers − λ · cost, by coordinate ascent, each λ starting from the one before;
2. descents from the path's points near the target, and from the best shared cutoff, that weigh what the target weighs;
3. exchanges between pairs of exits, because at the edge of a target no cut can move alone.

One function, a `Pick`, decides between cuts, between pairs and between policies. The result is optimal in each cut
given the others; that nothing else is better is certain only for two side exits and at most GRID samples.

Reference: Everett (1963), Generalized Lagrange multiplier method, Operations Research 11(3), for the path.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from offramp.calibration.shared import CutoffCurve, cutoff_curve
from offramp.policies.costs import Costs
from offramp.policies.outcomes import Outcomes
from offramp.policies.policy import Threshold, Thresholds, midway

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Rows = NDArray[np.intp]
Numbers = Ints | Floats
Cuts = tuple[int, ...]  # (side exits,)
Pick = Callable[[Ints, Floats], int]  # (right answers, total costs), each (options,) -> the option to take

MULTIPLIERS = 40
HIGHEST = 10.0  # λ at the end of the path: a tenth of the full network's cost outweighs one right answer
SWEEPS = 50  # a bound for the sake of rounding; 2 to 5 are usual
NEIGHBOURS = 3  # points of the path on either side of its best one that descents start from
POLISHED = 2  # policies that go on to exchanges
GRID = 24  # cuts of an exit in an exchange, spread evenly over the samples that reach it;
STEPS = np.concatenate([-(2 ** np.arange(16)), [0], 2 ** np.arange(16)])  # and those so many samples from its own


@dataclass(frozen=True)
class Solution:
    """A policy as cuts, its right answers and its total cost in the unit of the costs."""

    cuts: Cuts
    n_correct: int
    cost: float


class Joint:
    """The search on these outcomes, of at least one sample; what targets share is computed once."""

    def __init__(self, outcomes: Outcomes, costs: Costs) -> None:
        self.outcomes, self.costs = outcomes, costs
        self._last = outcomes.n_exits - 1
        self._uncertainty = np.ascontiguousarray(outcomes.uncertainty[:, :-1].T)  # (side exits, samples)
        self._correct = np.ascontiguousarray(outcomes.correct.T).astype(np.int8)  # (exits, samples)
        self._order = self._uncertainty.argsort(axis=1, kind="stable")
        ascending = np.take_along_axis(self._uncertainty, self._order, axis=1)
        higher = np.zeros(ascending.shape, np.bool_)
        higher[:, 1:] = ascending[:, 1:] > ascending[:, :-1]
        self._rank = np.empty(higher.shape, np.int32)  # a sample leaves where its rank is below the cut
        np.put_along_axis(self._rank, self._order, higher.cumsum(axis=1, dtype=np.int32), axis=1)

    def search(self, pick: Pick) -> Thresholds:
        """Return thresholds (exits,) of the policy that `pick` prefers of all found.

        Every shared cutoff, the full network and everybody leaving at one exit are among these. A threshold lies midway
        between neighbouring uncertainties of samples that reach the exit, and is infinite where all of them leave; an
        exit that nobody leaves at is disabled.
        """
        best = _preferred(self.path, pick)
        near = self.path[max(0, best - NEIGHBOURS) : best + NEIGHBOURS + 1]
        starts = [*near, self._settle(self._shared_cuts(pick))]
        descended = list({self._settle(self.descend(start.cuts, pick)): None for start in starts})
        polished: list[Solution] = []
        while descended and len(polished) < POLISHED:
            polished.append(self._polish(descended.pop(_preferred(descended, pick)), pick))
        found = [*polished, *starts]
        return self._thresholds(found[_preferred(found, pick)].cuts)

    @cached_property
    def path(self) -> list[Solution]:
        """Optima of all multipliers, once rising and once falling, and everybody leaving at one exit; cheapest first.

        Rising from the full network and falling from the first exit alone meet different local optima.
        """
        multipliers = np.geomspace(1 / len(self.outcomes), HIGHEST, MULTIPLIERS)
        rising = self.follow(multipliers, self._alone(self._last))
        falling = self.follow(multipliers[::-1], self._alone(0))
        static = [self._settle(self._alone(k)) for k in range(self._last + 1)]
        return sorted({*rising, *falling, *static}, key=lambda found: (found.cost, -found.n_correct, found.cuts))

    def follow(self, multipliers: Iterable[float], cuts: Cuts) -> list[Solution]:
        """Return an optimum per λ, in right answers per cost of the full network, each found from the one before."""
        found = []
        for multiplier in multipliers:
            cuts = self.descend(cuts, _lagrangian(multiplier / self.costs.full))
            found.append(self._settle(cuts))
        return found

    def descend(self, cuts: Cuts, pick: Pick) -> Cuts:
        """Return cuts that `pick` no longer changes one at a time."""
        taken = self._taken(cuts)
        for _ in range(SWEEPS):
            before = taken
            cuts, taken = self._sweep(cuts, before, pick)
            if np.array_equal(taken, before):
                break
        return cuts

    def _sweep(self, cuts: Cuts, taken: Rows, pick: Pick) -> tuple[Cuts, Rows]:
        """Choose every cut anew, the last side exit first; return the cuts and the exits taken under them.

        When k is chosen, exits before it are as they were and those after it settled: `taken` says who reaches k and
        `following` where they go if k lets them pass. So a sweep looks at each sample once per exit.
        """
        following = np.full(len(taken), self._last)
        for k in reversed(range(self._last)):
            passing = np.where(taken < k, taken, following)
            reached = self._order[k][(taken >= k)[self._order[k]]]
            options, correct, cost = self._options(cuts, k, passing, reached)
            cuts = _with(cuts, {k: int(options[pick(correct, cost)])})
            following[self._rank[k] < cuts[k]] = k
        return cuts, following

    def _options(self, cuts: Cuts, k: int, passing: Rows, reached: Rows) -> tuple[Ints, Ints, Floats]:
        """Return all cuts at exit k that differ, ascending from 0, with right answers and total cost of each.

        `passing` are the exits taken (samples,) if everybody passes k; `reached` are those who reach it, by rank.
        """
        right, counts = self._right(passing), self._counts(passing)
        on, off = self._prices(_with(cuts, {k: 1})), self._prices(_with(cuts, {k: 0}))
        rank, passed = self._rank[k, reached], passing[reached]
        ends = np.flatnonzero(np.diff(rank, append=len(passing)))  # of groups that no cut can part
        gains = np.cumsum(self._correct[k, reached] - right[reached], dtype=np.int64)[ends]
        charges = np.cumsum((on[k] - on)[passed])[ends]
        options = np.append(0, rank[ends] + 1)
        if len(ends):
            options[-1] = len(passing)  # everybody: also who reaches k once cuts before it change
        n_right = right.sum(dtype=np.int64)
        return options, np.append(n_right, n_right + gains), np.append(counts @ off, counts @ on + charges)

    def _polish(self, solution: Solution, pick: Pick) -> Solution:
        """Return a policy that neither exchanges nor single cuts improve; `pick` prefers it unless it is `solution`."""
        while True:
            cuts = solution.cuts
            for j, k in combinations(range(self._last), 2):
                cuts = self._exchange(cuts, j, k, pick)
            better = self._settle(self.descend(cuts, pick))
            if _preferred([solution, better], pick) == 0:
                return solution
            solution = better

    def _exchange(self, cuts: Cuts, j: int, k: int, pick: Pick) -> Cuts:
        """Choose the cuts at exits j < k together, from a grid that holds the present ones."""
        passing = self._taken(_with(cuts, {j: 0, k: 0}))
        right, counts = self._right(passing), self._counts(passing)
        at_j = np.flatnonzero(passing > j)
        late = passing[at_j] > k
        at_k = at_j[late]  # those of them who reach k if they pass j
        cuts_j, cuts_k = self._grid(j, at_j, cuts[j]), self._grid(k, at_k, cuts[k])
        leave_j = np.searchsorted(cuts_j, self._rank[j, at_j], side="right")  # the first cut they leave under
        leave_k = np.searchsorted(cuts_k, self._rank[k, at_k], side="right")

        def totals(start: float, gain_j: Floats, gain_k: Floats) -> Floats:  # -> (cuts of j, cuts of k)
            first = np.bincount(leave_j, gain_j, len(cuts_j) + 1)[:-1].cumsum()
            shape = len(cuts_j) + 1, len(cuts_k) + 1
            cells = np.bincount(leave_j[late] * shape[1] + leave_k, gain_k, math.prod(shape)).reshape(shape)
            second = cells[:, :-1].cumsum(axis=1)  # by cut of j that they leave under, at any of k
            return start + first[:, None] + second.sum(axis=0) - second[:-1].cumsum(axis=0)

        def costs(on_j: int, on_k: int) -> Floats:
            price = self._prices(_with(cuts, {j: on_j, k: on_k}))
            return totals(float(counts @ price), (price[j] - price)[passing[at_j]], (price[k] - price)[passing[at_k]])

        correct = totals(right.sum(), self._correct[j, at_j] - right[at_j], self._correct[k, at_k] - right[at_k])
        cost = costs(1, 1)
        cost[0], cost[:, 0], cost[0, 0] = costs(0, 1)[0], costs(1, 0)[:, 0], costs(0, 0)[0, 0]
        best = pick(np.rint(correct).astype(np.int64).ravel(), cost.ravel())
        return _with(cuts, {j: int(cuts_j[best // len(cuts_k)]), k: int(cuts_k[best % len(cuts_k)])})

    def _grid(self, k: int, reached: Rows, cut: int) -> Ints:
        """Return cuts at exit k to try, ascending from 0: spread over the samples that reach it, dense around `cut`."""
        rank = np.sort(self._rank[k, reached])
        leaving = np.append(np.linspace(0, len(rank), GRID + 1).astype(int), np.searchsorted(rank, cut) + STEPS)
        leaving = leaving[(leaving > 0) & (leaving <= len(rank))]
        return np.unique(np.append(0, rank[leaving - 1] + 1))

    def _taken(self, cuts: Cuts) -> Rows:
        """Return the exits taken (samples,)."""
        taken = np.full(len(self.outcomes), self._last)
        for k in reversed(range(self._last)):
            taken[self._rank[k] < cuts[k]] = k
        return taken

    def _right(self, taken: Rows) -> NDArray[np.int8]:
        """Return 1 where the answer at the exit taken is right, else 0, (samples,)."""
        return self._correct[taken, np.arange(len(taken))]

    def _counts(self, taken: Rows) -> Rows:
        return np.bincount(taken, minlength=self._last + 1)

    def _prices(self, cuts: Cuts) -> Floats:
        """Return the cost of leaving at each exit (exits,)."""
        return self.costs.at_exits([*(cut > 0 for cut in cuts), True])

    def _alone(self, k: int) -> Cuts:
        """Return the cuts with which everybody leaves at exit k."""
        return tuple(len(self.outcomes) if at == k else 0 for at in range(self._last))

    def _settle(self, cuts: Cuts) -> Solution:
        """Return the solution with these cuts, 0 where nobody leaves; its numbers are those of `replay`."""
        taken = self._taken(cuts)
        counts = self._counts(taken)
        cuts = tuple(cut if n else 0 for cut, n in zip(cuts, counts, strict=False))
        return Solution(cuts, int(self._right(taken).sum()), float(counts @ self._prices(cuts)))

    def _thresholds(self, cuts: Cuts) -> Thresholds:
        """Return the thresholds (exits,) in the middle of the gaps that the cuts stand for."""
        taken = self._taken(cuts)
        thresholds: list[Threshold] = []
        for k, uncertainty in enumerate(self._uncertainty):
            leaving, staying = uncertainty[taken == k], uncertainty[taken > k]
            if not len(leaving):
                thresholds.append(None)
            else:
                thresholds.append(midway(leaving.max(), staying.min()) if len(staying) else math.inf)
        return (*thresholds, math.inf)

    @cached_property
    def _shared(self) -> CutoffCurve:
        return cutoff_curve(self.outcomes, self.costs)

    def _shared_cuts(self, pick: Pick) -> Cuts:
        """Return the cuts of the shared cutoff that `pick` takes; of the full network where there is no side exit."""
        curve, n = self._shared, len(self.outcomes)
        if not len(curve.changes):
            return self._alone(self._last)
        cutoff = curve.changes[pick(np.rint(curve.accuracy * n).astype(np.int64), curve.mean_cost * n)]
        lower = self._uncertainty <= cutoff
        return tuple(int(rank[out].max(initial=-1)) + 1 for rank, out in zip(self._rank, lower, strict=True))


def lowest(values: Numbers, then: Numbers, among: NDArray[np.bool_] | None = None) -> int:
    """Return the place of the lowest value, of equal ones that with the lowest `then`, where `among` (default all)."""
    places = np.arange(len(values)) if among is None else np.flatnonzero(among)
    places = places[values[places] == values[places].min()]
    return int(places[then[places].argmin()])


def _preferred(solutions: Sequence[Solution], pick: Pick) -> int:
    correct = np.array([solution.n_correct for solution in solutions])
    return pick(correct, np.array([solution.cost for solution in solutions]))


def _lagrangian(price: float) -> Pick:
    return lambda correct, cost: int(np.argmax(correct - price * cost))


def _with(cuts: Cuts, changes: Mapping[int, int]) -> Cuts:
    return tuple(changes.get(k, cut) for k, cut in enumerate(cuts))
