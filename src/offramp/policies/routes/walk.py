"""A route's walk: which heads a sample runs and where it leaves, when a route says after each head where to look next.

A `Route` decides from what one exit shows, and from nothing else: `decide` is called by `walk`, for outcomes, and by
`Decider`, for the runtime, so that both do the same. Between an exit and the next that is looked at no head runs.
Exits count from 0; the last one is the final classifier and takes all that arrive there. A walk costs the trunk up to
where the sample leaves, every head it ran and every forecast it was given: additions of a forecast are MACs, one each.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from offramp.policies.costs import MACS, Costs
from offramp.policies.outcomes import Outcomes
from offramp.policies.routes.observed import Ints, Look, Mask, Seen
from offramp.policies.rules import leaves
from offramp.project.errors import InputError
from offramp.scores.registry import Floats


@dataclass(frozen=True)
class Step:
    """What becomes of samples after one head, each (samples,)."""

    leaves: Mask
    target: Ints  # the exit where it looks next; this one for those that leave
    jump: Ints  # the forecast before it is cut to what exists; 0 where none was made


@dataclass(frozen=True)
class Walk:
    """What a route did to each sample."""

    taken: Ints  # (samples,)
    visited: Mask  # (samples, exits): whose heads ran, the final classifier's among them
    jump: NDArray[np.int16]  # (samples, exits): how far ahead a forecast made there sent it, 0 where none was made

    @property
    def heads(self) -> Ints:
        """Return how many heads each sample ran."""
        return np.asarray(self.visited.sum(axis=1), np.intp)

    @property
    def forecasts(self) -> Ints:
        """Return how often each sample was forecast."""
        return np.asarray((self.jump > 0).sum(axis=1), np.intp)


@dataclass(frozen=True, kw_only=True)
class Route(ABC):
    """Where to look first (`start`) and, from what an exit shows, next.

    With `clamp` a jump beyond the last side exit lands there, else at the final classifier. After the last side exit
    comes the final classifier: nothing is forecast there.
    """

    name: ClassVar[str]
    forecasts: ClassVar[bool] = True  # jumps are forecasts, to be kept in a walk
    blind: ClassVar[bool] = False  # jumps look at nothing, so they are walked like forecasts and are none
    live: ClassVar[bool] = True  # a runtime can do it; an oracle cannot
    shows: ClassVar[tuple[str, ...]] = ()  # what `jumps` reads of Seen beside the uncertainty: growth, predictors
    keyed: ClassVar[bool] = False  # it asks who a sample is
    start: int = 0
    clamp: bool = True

    def __post_init__(self) -> None:
        if self.start < 0:
            raise ValueError(f"start must be an exit, counted from 0; got {self.start}")

    @abstractmethod
    def jumps(self, seen: Seen, cut: float) -> Ints:
        """Return how many exits ahead to look next, (samples,), at least 1, for samples that do not leave."""

    def leaves(self, seen: Seen, cut: float) -> Mask:
        """Return who leaves (samples,)."""
        return leaves(seen.uncertainty, cut)

    def step_macs(self, n_exits: int, n_classes: int) -> Floats:
        """Return what a forecast at each exit costs, (exits,), in MACs."""
        del n_classes
        return np.zeros(n_exits)

    def decide(self, seen: Seen, cut: float) -> Step:
        """Return what becomes of samples that looked at a side exit; `cut` is the uncertainty at which they leave."""
        out = self.leaves(seen, cut)
        target, jump = np.full(len(seen), seen.exit), np.zeros(len(seen), np.intp)
        stay = np.flatnonzero(~out)
        if seen.exit == seen.last - 1:
            target[stay] = seen.last
        elif len(stay):
            ahead = self.jumps(seen.take(stay), cut)
            target[stay] = np.minimum(seen.exit + ahead, seen.last - 1 if self.clamp else seen.last)
            if self.forecasts:
                jump[stay] = ahead
        return Step(out, target, jump)

    def walk(self, outcomes: Outcomes, cut: float) -> Walk:
        """Return the walk of every sample."""
        shown = outcomes.showing(self.shows)
        n, last = len(shown), shown.last
        taken, target = np.full(n, last), np.full(n, min(self.start, last))
        visited, jump = np.zeros((n, last + 1), np.bool_), np.zeros((n, last + 1), np.int16)
        for k in range(self.start, last):
            rows = np.flatnonzero(target == k)
            if len(rows) == 0:
                continue
            step = self.decide(shown.at(k, rows), cut)
            visited[rows, k] = True
            jump[rows, k] = np.where(step.jump > 0, step.target - k, 0)
            target[rows] = step.target
            taken[rows[step.leaves]] = k
        visited[:, last] = taken == last
        return Walk(taken, visited, jump)


@dataclass(frozen=True)
class Decider:
    """A route as the runtime asks it, head after head; `cut` is the uncertainty at which a sample leaves.

    Raises ValueError for a route that needs to know what no runtime does.
    """

    route: Route
    look: Look
    cut: float
    n_exits: int

    def __post_init__(self) -> None:
        if not self.route.live:
            raise ValueError(f"route {self.route.name!r} knows what comes; it can be replayed, not run")

    @property
    def start(self) -> int:
        """Return the first exit whose head runs; the final classifier where there is no such side exit."""
        return min(self.route.start, self.n_exits - 1)

    def at(self, exit_number: int, logits: NDArray[Any], key: NDArray[np.int64] | None = None) -> tuple[Mask, Ints]:
        """Return who leaves (samples,), and at which exit the others look next (samples,).

        `logits` (samples, classes) are those of `exit_number`, from 0, for samples whose target it was. `key` names
        samples where a route draws jumps at random. At the final classifier everyone leaves.
        """
        last = self.n_exits - 1
        if exit_number == last:
            return np.ones(len(logits), np.bool_), np.full(len(logits), last)
        _, step = self.judge(exit_number, logits, key)
        return step.leaves, step.target

    def judge(self, exit_number: int, logits: NDArray[Any], key: NDArray[np.int64] | None = None) -> tuple[Seen, Step]:
        """Return what a side exit shows of samples and what becomes of them; `at` says both in short."""
        seen = self.look.at(exit_number, self.n_exits - 1, logits, key)
        return seen, self.route.decide(seen, self.cut)


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
