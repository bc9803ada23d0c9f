"""Every route that is compared, as families over cuts: one for each exit that is looked at first.

What a route is fitted to is tune rows, anew for every cut; a family remembers what it fitted. Placements are families
of their own: each that some cut gives is tried at every cut, because a strict cut itself leaves no exit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from offramp.calibration.placement import distinct, place, spread
from offramp.policies.costs import Costs
from offramp.policies.outcomes import Outcomes
from offramp.policies.routes.jumps import ConstantJump, RandomJump, jump_histogram
from offramp.policies.routes.learned import fit_learned
from offramp.policies.routes.routes import EveryExit, Placed, Predictive, SingleJump
from offramp.policies.routes.walk import Route
from studies.predictive_exit.comparison import Family
from studies.predictive_exit.controls import HandRule, OracleExit, OracleLabel, fit_ratio_only

ENGINE = "predictive"


@dataclass(frozen=True)
class Options:
    """What is tried. `starts` count from 0; those without such a side exit, and jumps beyond all, are left out."""

    starts: Sequence[int]
    jumps: Sequence[int]
    horizon: int
    clamp: bool
    theta: float
    seed: int

    def starts_in(self, n_exits: int) -> list[int]:
        """Return the starts that a network has; the first exit where it has none of them."""
        return [start for start in self.starts if start < n_exits - 1] or [0]

    def jumps_in(self, n_exits: int) -> list[int]:
        """Return the jumps that lead from the first side exit to another; 1 is always among them."""
        return [ahead for ahead in self.jumps if ahead < n_exits - 1] or [1]


def families(
    tune: Outcomes, runs_engine: bool, costs: Costs, options: Options, cuts: Sequence[float]
) -> dict[str, list[Family]]:
    """Return the families of a score by name; those that need the engine only where it runs.

    `cuts` are those whose placements are tried.
    """
    starts = options.starts_in(tune.n_exits)
    named = {"every_exit": _each(starts, lambda start: fixed(EveryExit(start=start)))}
    named["placed"] = [fixed(route) for route in placements(tune, cuts, costs, options.theta)]
    if runs_engine:
        named |= _by_engine(starts, options)
        named |= _by_ratio(tune, starts, options)
    named["learned"] = _each(starts, lambda start: cache(lambda cut: fit_learned(tune, cut, costs, start)))
    for ahead in options.jumps_in(tune.n_exits):
        routes = [ConstantJump(start=start, clamp=options.clamp, ahead=ahead) for start in starts]
        named[f"constant_jump_{ahead}"] = [fixed(route) for route in routes]
    named["random_jump"] = _each(starts, lambda start: cache(lambda cut: random_jump(tune, cut, start, options)))
    named["oracle_exit"] = _each(starts, lambda start: fixed(OracleExit(start=start)))
    named["oracle_label"] = _each(starts, lambda start: fixed(OracleLabel(start=start)))
    return named


def placements(tune: Outcomes, cuts: Sequence[float], costs: Costs, theta: float) -> list[Placed]:
    """Return distinct placements that these cuts give on tune rows, from few exits to many, at most MOST."""

    def exits_at(cut: float) -> tuple[int, ...]:
        return place(tune, cut, costs, theta).exits

    return [Placed(exits=exits_at(cut)) for cut in spread(distinct(cuts, exits_at))]


def random_jump(tune: Outcomes, cut: float, start: int, options: Options) -> RandomJump:
    """Return the control that draws jumps as tune rows make them from `start`."""
    weights = jump_histogram(tune, cut, start)
    return RandomJump(start=start, clamp=options.clamp, weights=weights, seed=options.seed)


def forecasts(
    tune: Outcomes, runs_engine: bool, costs: Costs, options: Options, cut: float, start: int
) -> dict[str, Route]:
    """Return, by name, every route that forecasts, at one cut and start."""
    clamp, horizon = options.clamp, options.horizon
    found: dict[str, Route] = {}
    if runs_engine:
        found[ENGINE] = Predictive(start=start, clamp=clamp, horizon=horizon)
        found["hand_rule"] = HandRule(start=start, clamp=clamp)
        found["ratio_only"] = fit_ratio_only(tune, cut, start, horizon, clamp)
    found["learned"] = fit_learned(tune, cut, costs, start)
    for ahead in options.jumps_in(tune.n_exits):
        found[f"constant_jump_{ahead}"] = ConstantJump(start=start, clamp=clamp, ahead=ahead)
    found["random_jump"] = random_jump(tune, cut, start, options)
    return found


def fixed(route: Route) -> Family:
    """Return the family of a route that is the same for every cut."""
    return lambda _: route


def _by_engine(starts: Sequence[int], options: Options) -> dict[str, list[Family]]:
    horizon = options.horizon
    other = f"{ENGINE}_{'un' if options.clamp else ''}clamped"
    return {
        ENGINE: [fixed(Predictive(start=start, clamp=options.clamp, horizon=horizon)) for start in starts],
        other: [fixed(Predictive(start=start, clamp=not options.clamp, horizon=horizon)) for start in starts],
        "single_jump": [fixed(SingleJump(start=start, clamp=options.clamp, horizon=horizon)) for start in starts],
    }


def _by_ratio(tune: Outcomes, starts: Sequence[int], options: Options) -> dict[str, list[Family]]:
    def ratio_only(start: int) -> Family:
        return cache(lambda cut: fit_ratio_only(tune, cut, start, options.horizon, options.clamp))

    hand = [fixed(HandRule(start=start, clamp=options.clamp)) for start in starts]
    return {"hand_rule": hand, "ratio_only": [ratio_only(start) for start in starts]}


def _each(starts: Sequence[int], make: Callable[[int], Family]) -> list[Family]:
    return [make(start) for start in starts]
