"""Routes that skip heads, written again from their definitions: which exits a sample looks at and what it pays.

At each exit that is looked at a sample leaves where its uncertainty is at most the cut; else the route says how many
exits ahead it looks next. Exits count from 0 here, the last is the final classifier.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.recheck.chains import Thresholds, cost_ratio, leave_at
from offramp.recheck.costs_schema import StatedCosts
from offramp.recheck.rows import Table
from offramp.recheck.rule_schema import RouteArguments
from offramp.recheck.schema import Entry, PoliciesFile
from offramp.recheck.scores import rounded

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
CAP = 1e12  # of ratios to T
FARTHEST = 4.0  # spreads at which a standardised predictor is held
LETTERS = 2**64 - 1


@dataclass(frozen=True)
class Walked:
    """Where samples left (samples,), whose heads they ran and where they were given a forecast, (samples, exits)."""

    taken: Ints
    visited: Bools
    forecast: Bools


@dataclass(frozen=True)
class Model:
    """One exit's regressions: mean and spread (predictors,), weights (exits ahead, 1 + 2 predictors)."""

    mean: Floats
    spread: Floats
    weights: Floats

    def expected(self, seen: Floats) -> Floats:
        """Return what looking at each exit ahead is expected to cost, (samples, exits ahead)."""
        return rounded(terms(seen, self.mean, self.spread) @ self.weights.T)


@dataclass(frozen=True)
class Route:
    """A route by name, with what it needs of its arguments; `thresholds` (exits,) are T of score activation."""

    name: str
    start: int
    clamp: bool = False
    horizon: int = 0
    ahead: int = 1
    exits: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()
    seed: int = 0
    models: tuple[Model, ...] = ()
    thresholds: tuple[float, ...] = ()

    def looks_at(self, k: int) -> bool:
        return k in self.exits if self.name == "placed" else k >= self.start

    def walk(self, rows: Table, cut: float) -> Walked:
        """Return what becomes of samples, exit by exit."""
        n, last = len(rows), rows.n_exits - 1
        first = min(self.exits, default=last) if self.name == "placed" else min(self.start, last)
        target, taken = np.full(n, first), np.full(n, last)
        visited, forecast = np.zeros((n, last + 1), np.bool_), np.zeros((n, last + 1), np.bool_)
        for k in range(last):
            here = np.flatnonzero(target == k)
            visited[here, k] = True
            out = rows.uncertainty[here, k] <= cut
            if self.name == "single_jump" and k > self.start:
                out[:] = True
            taken[here[out]] = k
            target[here[out]] = -1
            stay = here[~out]
            if k == last - 1:
                target[stay] = last
            elif len(stay):
                farthest = last - 1 if self.clamp else last
                target[stay] = np.minimum(k + self.jumps(rows, stay, k, cut), farthest)
                forecast[stay, k] = True
        visited[:, last] = taken == last
        return Walked(taken, visited, forecast)

    def jumps(self, rows: Table, here: Ints, k: int, cut: float) -> Ints:
        """Return how many exits ahead of `k` these rows look next."""
        match self.name:
            case "every_exit":
                return np.ones(len(here), np.int64)
            case "placed":
                return np.full(len(here), next((e for e in self.exits if e > k), rows.n_exits - 1) - k)
            case "constant_jump":
                return np.full(len(here), self.ahead)
            case "random_jump":
                return np.array([self.drawn(number, k) for number in rows.sample[here].tolist()], np.int64)
            case "learned":
                assert rows.predictors is not None, "the table was read for this route"
                return 1 + self.models[k - self.start].expected(rows.predictors[here, k]).argmin(axis=1)
        assert rows.powers is not None, "the table was read for this route"
        found = np.full(len(here), self.horizon)
        for ahead in reversed(range(1, self.horizon)):
            scale = self.thresholds[min(k + ahead, rows.n_exits - 2)]
            found[rounded(ratio(rows.powers[here, k, ahead], scale, 0.0)) > -cut] = ahead
        return found

    def drawn(self, number: int, k: int) -> int:
        """Return the jump of a sample at exit `k`, by a hash of seed, exit and sample (SplitMix64)."""
        state = _mixed((_mixed(self.seed) + k) & LETTERS)
        share = (_mixed(state ^ (number & LETTERS)) >> 11) / 2**53
        total, passed = sum(self.weights), 0.0
        for jump, weight in enumerate(self.weights, start=1):
            passed += weight
            if share < passed / total:
                return jump
        return max(jump for jump, weight in enumerate(self.weights, start=1) if weight > 0)

    def cost_ratio(self, walked: Walked, costs: StatedCosts, n_classes: int) -> float:
        """Return the mean cost of a walk, a fraction of the full network's; forecasts cost MACs, and no known time."""
        assert costs.segment is not None and costs.head is not None, "checked where the costs were read"
        trunk = np.cumsum(costs.segment)[walked.taken]
        heads = walked.visited @ np.array(costs.head)
        step = np.zeros(walked.visited.shape[1])
        if costs.unit != "ms" and self.name in ("predictive", "single_jump"):
            step[:] = 2 * n_classes * self.horizon
        if costs.unit != "ms":
            for k, model in enumerate(self.models):
                step[self.start + k] = model.weights.size
        return float((trunk + heads + walked.forecast @ step).mean()) / costs.full


def exits_of(rows: Table, thresholds: Thresholds) -> Ints:
    """Return the exit that each sample takes (samples,), by the route of the rows if they have one."""
    return leave_at(rows.uncertainty, thresholds) if rows.route is None else walked(rows, thresholds).taken


def ratio_of(rows: Table, thresholds: Thresholds, costs: StatedCosts, every_head: bool) -> float:
    """Return the mean cost of these rows, as a fraction of the full network's."""
    if rows.route is None:
        return cost_ratio(leave_at(rows.uncertainty, thresholds), thresholds, costs, every_head)
    return rows.route.cost_ratio(walked(rows, thresholds), costs, rows.n_classes)


def walked(rows: Table, thresholds: Thresholds) -> Walked:
    """Return the walk of rows that have a route; its cut is the threshold of every exit it looks at."""
    assert rows.route is not None, "asked of a route"
    return rows.route.walk(rows, next((t for t in thresholds[:-1] if t is not None), -np.inf))


def route_of(entry: Entry, file: PoliciesFile) -> Route | None:
    """Return the route of a policy; None where its rule is another."""
    return None if entry.route is None else stated_route(entry.rule, entry.route, file)


def stated_route(name: str, stated: RouteArguments, file: PoliciesFile) -> Route:
    models = tuple(
        Model(np.array(model.mean), np.array(model.spread), np.array(model.weights))
        for model in (stated.models or {}).values()
    )
    return Route(
        name,
        (stated.start or 1) - 1,
        bool(stated.clamp),
        stated.horizon or 0,
        stated.ahead or 1,
        tuple(number - 1 for number in stated.exits or ()),
        tuple(stated.weights or ()),
        stated.seed or 0,
        models,
        () if file.activation is None else tuple(file.activation.thresholds.values()),
    )


def terms(seen: Floats, mean: Floats, spread: Floats) -> Floats:
    """Return a constant, standardised predictors and their squares, (samples, 1 + 2 predictors)."""
    standard = np.clip((seen - mean) / spread, -FARTHEST, FARTHEST)
    return np.column_stack([np.ones(len(seen)), standard, standard * standard])


def ratio(peak: Floats, scale: float, of_zeros: float) -> Floats:
    """Return peak / scale up to CAP; `of_zeros` where both are 0."""
    found = np.where(peak > 0, CAP, of_zeros)
    small = scale * CAP > peak
    found[small] = peak[small] / scale
    return found


def _mixed(state: int) -> int:
    state = (state + 0x9E3779B97F4A7C15) & LETTERS
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & LETTERS
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & LETTERS
    return state ^ (state >> 31)
