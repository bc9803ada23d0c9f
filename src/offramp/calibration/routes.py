"""Methods `every_exit`, `placed`, `predictive`, …: a route that skips heads, its start and the one cut of all exits.

What is fitted (placement, histogram of jumps, learned forecasts) is fitted on tune rows, anew for every cut; which cut
and which start is decided by the other validation rows, which fitted nothing: on tune rows a forecast looks better than
it is. Cuts lie between quantiles of the tune rows' uncertainties. A strict cut alone would leave no placed exit, so
each placement that some cut gives is paired with every cut.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from offramp.calibration.placement import distinct, place, spread
from offramp.calibration.settings import RouteSettings
from offramp.policies.costs import Costs
from offramp.policies.methods import METHODS
from offramp.policies.outcomes import Outcomes
from offramp.policies.policy import Policy, full_network, midway
from offramp.policies.replay import replay
from offramp.policies.routes.jumps import ConstantJump, RandomJump, jump_histogram
from offramp.policies.routes.learned import Learned, fit_learned
from offramp.policies.routes.observed import Look
from offramp.policies.routes.routes import EveryExit, Placed, Predictive, SingleJump
from offramp.policies.routes.rule import RouteRule, score_of
from offramp.policies.routes.walk import Route
from offramp.policies.rules import THRESHOLD, Rule
from offramp.project.errors import InputError
from offramp.scores.registry import Floats
from offramp.scores.scoring import Scoring

EQUAL = 1e-9  # relative: costs that differ by less do not differ
Fit = Callable[[Outcomes, float, int, Costs, RouteSettings], Route]  # tune rows, cut, start


@dataclass(frozen=True)
class RouteFit:
    """How a route is made of tune rows for a cut and a start; `at_cut`: what is fitted belongs to the one cut."""

    fit: Fit
    at_cut: bool = False


FITS: dict[str, RouteFit] = {
    EveryExit.name: RouteFit(lambda _tune, _cut, start, _costs, _with: EveryExit(start=start)),
    Placed.name: RouteFit(
        lambda tune, cut, start, costs, s: Placed(start=start, exits=place(tune, cut, costs, s.placement).exits),
        at_cut=True,
    ),
    Predictive.name: RouteFit(
        lambda _tune, _cut, start, _costs, s: Predictive(start=start, horizon=s.horizon, clamp=s.clamp)
    ),
    SingleJump.name: RouteFit(
        lambda _tune, _cut, start, _costs, s: SingleJump(start=start, horizon=s.horizon, clamp=s.clamp)
    ),
    ConstantJump.name: RouteFit(
        lambda _tune, _cut, start, _costs, s: ConstantJump(start=start, ahead=s.jump, clamp=s.clamp)
    ),
    RandomJump.name: RouteFit(
        lambda tune, cut, start, _costs, s: RandomJump(
            start=start, weights=jump_histogram(tune, cut, start), clamp=s.clamp
        ),
        at_cut=True,
    ),
    Learned.name: RouteFit(lambda tune, cut, start, costs, _with: fit_learned(tune, cut, costs, start), at_cut=True),
}


@dataclass(frozen=True)
class Point:
    """A policy, by its rule, and what it does on some rows: right answers and mean cost, a fraction of the full one."""

    rule: Rule
    correct: int
    cost_ratio: float


class Routes:
    """All starts and cuts of the routes, fitted on tune rows; what targets share is computed once."""

    def __init__(self, tune: Outcomes, chosen_on: Outcomes, costs: Costs, settings: RouteSettings) -> None:
        self.tune, self.rows, self.costs, self.settings = tune, chosen_on, costs, settings
        self._points: dict[str, list[Point]] = {}

    @cached_property
    def cuts(self) -> list[float]:
        return cut_grid(self.tune.uncertainty[:, :-1], self.settings.cuts)

    @property
    def starts(self) -> list[int]:
        """Return the side exits that a route may start at. Raises InputError for one that the network does not have."""
        n_side, start = self.tune.n_exits - 1, self.settings.start
        if start is None:
            return list(range(n_side))
        if start >= n_side > 0:
            raise InputError(
                f"calibrate.predictive.start must be auto or a side exit from 1 to {n_side}; got {start + 1}"
            )
        return [start] if n_side else []

    def points(self, name: str) -> list[Point]:
        """Return every start and cut of a route on the rows that choose, and the full network."""
        if name not in self._points:
            n_exits = self.rows.n_exits
            full = replay(self.rows, Policy(full_network(n_exits)), self.costs)
            self._points[name] = [Point(THRESHOLD, int(full.correct.sum()), full.cost_ratio)]
            self._points[name] += [self._measured(rule) for rule in self._rules(name)]
        return self._points[name]

    @cached_property
    def placed_at(self) -> list[float]:
        """Return the first cut of every distinct placement, ascending. There has to be a side exit to start at."""
        start = self.starts[0]
        return distinct(self.cuts, lambda cut: tuple(self.rule(Placed.name, cut, start).arguments["exits"]))

    def _rules(self, name: str) -> Iterator[RouteRule]:
        """Yield every start and cut of a route; of `placed`, placements spread over all there are, at every cut."""
        if name != Placed.name:
            yield from (self.rule(name, cut, start) for start in self.starts for cut in self.cuts)
            return
        for start in self.starts[:1]:
            for fitted_at in spread(self.placed_at):
                route = self.rule(name, fitted_at, start).route
                yield from (RouteRule(route, cut) for cut in self.cuts)

    def rule(self, name: str, cut: float, start: int, fitted_at: float | None = None) -> RouteRule:
        """Return a route that leaves at `cut`, fitted on tune rows for that cut or for `fitted_at`."""
        fit_cut = cut if fitted_at is None else fitted_at
        return RouteRule(FITS[name].fit(self.tune, fit_cut, start, self.costs, self.settings), cut)

    def _measured(self, rule: RouteRule) -> Point:
        result = replay(self.rows, ruled(rule, self.rows.n_exits), self.costs)
        return Point(rule, int(result.correct.sum()), result.cost_ratio)


def choose(routes: Routes, name: str, target: float) -> Policy:
    """Return the cheapest start and cut whose accuracy on the rows that choose is at least `target`.

    The full network is a candidate. Infeasible where none reaches the target; the policy is then the most accurate one,
    the cheapest of those; and where a fold is empty.
    """
    n, n_exits = len(routes.rows), routes.rows.n_exits
    if n == 0 or len(routes.tune) == 0:
        which = "tune fold" if n else "part of validation outside the tune fold"
        reason = f"the {which} is empty; change calibrate.tune_fraction or take more validation rows"
        return Policy(full_network(n_exits), feasible=False, reason=reason)
    points = routes.points(name)
    reaching = [point for point in points if point.correct / n >= target]
    if reaching:
        return ruled(cheapest(reaching).rule, n_exits)
    most = max(point.correct for point in points)
    best = cheapest([point for point in points if point.correct == most])
    reason = (
        f"no cut of {name} reaches an accuracy of {target:g} on validation; the most accurate reaches {most / n:.4f}"
    )
    return replace(ruled(best.rule, n_exits), feasible=False, reason=reason, nearest=most / n)


def cheapest(points: Sequence[Point]) -> Point:
    """Return the cheapest, of equally cheap ones the most accurate, of equals the first."""
    lowest = min(point.cost_ratio for point in points)
    return max((point for point in points if point.cost_ratio * (1 - EQUAL) <= lowest), key=lambda point: point.correct)


def ruled(rule: Rule, n_exits: int) -> Policy:
    """Return the policy of a route; rule `threshold` stands for the full network."""
    thresholds = rule.thresholds(n_exits) if isinstance(rule, RouteRule) else full_network(n_exits)
    return Policy(thresholds, rule=rule)


def cut_grid(uncertainty: Floats, number: int) -> list[float]:
    """Return at most `number` cuts, ascending: thresholds after quantiles of all uncertainties (samples, side exits).

    Midway to the next uncertainty, because live logits differ from cached ones in the last bits. The last one lets
    everyone go.
    """
    values = np.unique(uncertainty)
    if len(values) == 0:
        return []
    ordered = np.sort(uncertainty, axis=None)
    picked = ordered[np.round(np.linspace(0, len(ordered) - 1, number)).astype(int)]
    places = np.unique(np.searchsorted(values, picked))
    above = np.append(values, values[-1] + 1.0)
    return [midway(float(values[place]), float(above[place + 1])) for place in places]


def route_look(methods: Sequence[str], scoring: Scoring, settings: RouteSettings) -> Look | None:
    """Return what the routes of these methods have to see of logits; None where a score is enough.

    Raises InputError for a method that cannot use the score.
    """
    routes = [METHODS[name] for name in methods if METHODS[name].route is not None]
    if not routes:
        return None
    if scoring.compares_exits:
        raise InputError(
            f"method {routes[0].route} skips heads, and uncertainty.score {scoring.score!r} needs all of them"
        )
    smoothing = [method for method in routes if method.smooths]
    if smoothing and scoring.activation is None:
        raise InputError(
            f"method {smoothing[0].route} forecasts activations: uncertainty.score must be activation; it is "
            f"{scoring.score}"
        )
    learned = any(method.forecasts and not method.smooths for method in routes)
    if not smoothing and not learned:
        return None
    return Look(score_of(scoring), settings.horizon if smoothing else 0, learned)


def untimed(methods: Sequence[str], costs: Costs) -> str | None:
    """Return a line that says which methods' forecasts are taken to need no time; None where none are."""
    found = [name for name in methods if METHODS[name].forecasts] if costs.measured else []
    if not found:
        return None
    return f"costs are times, and none was measured for a forecast: those of {', '.join(found)} are charged 0 ms"
