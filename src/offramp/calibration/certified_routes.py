"""Methods `certified_every_exit`, `certified_predictive`, …: the cheapest cut of a route whose loss is proved.

The tune fold fixes the route, all of it: where to start and, for a route that is fitted, at which cut. What is left is
one dimension, the cut at which samples leave; its values, from safe to cheap as the tune fold has them, are the chain
that the certify fold walks. The forecasts may be as bad as they like: what is tested is the whole policy.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from offramp.calibration.certificates.certificate import prove
from offramp.calibration.certificates.chains import STEP
from offramp.calibration.certified import loss_claim, unproved
from offramp.calibration.problem import Problem
from offramp.calibration.routes import EQUAL, FITS, Routes, ruled
from offramp.policies.policy import Policy
from offramp.policies.replay import replay
from offramp.policies.routes.routes import EveryExit, Placed
from offramp.policies.routes.rule import RouteRule

FAMILY = "cuts"
Tried = tuple[float, float, RouteRule]  # loss, cost as a fraction of the full network's


def certified_route(name: str, problem: Problem, max_loss: float) -> Policy:
    """Return the last rejected cut of route `name` with its certificate; infeasible, the full network, without one."""
    claim = loss_claim(problem, max_loss)
    order = [ruled(rule, problem.outcomes.n_exits) for rule in declare(problem.routes, name, max_loss)]
    choice, steps = prove(problem, claim, order, FAMILY, search=_search(problem, name))
    return unproved(problem, claim, steps) if choice is None else choice


def declare(routes: Routes, name: str, max_loss: float) -> list[RouteRule]:
    """Return the chain: cuts of one route, each at least STEP cheaper on the tune fold than the one before.

    Of all starts, or placements, it has the one whose cheapest cut within `max_loss` on the tune fold is the cheapest.
    """
    if len(routes.tune) == 0 or routes.tune.n_exits == 1:
        return []
    families = [list(_along(routes, name, *fit)) for fit in _fits(routes, name, max_loss)]
    chosen = best(families, max_loss)
    chain: list[RouteRule] = []
    cheapest = 1.0
    for _, ratio, rule in next(family for family in families if any(tried is chosen for tried in family)):
        if ratio <= cheapest - STEP:
            chain.append(rule)
            cheapest = ratio
    return chain


def _fits(routes: Routes, name: str, max_loss: float) -> list[tuple[int, float | None]]:
    """Return the starts to choose from and the cut that each is fitted for; None: it is not fitted.

    A learned forecast is fitted for the cut that is best for `every_exit`. That cut may leave a placement without any
    exit, so every placement that some cut gives is tried, named by the first such cut.
    """
    if name == Placed.name:
        return [(routes.starts[0], cut) for cut in routes.placed_at]
    if not FITS[name].at_cut:
        return [(start, None) for start in routes.starts]
    every = [list(_along(routes, EveryExit.name, start, None)) for start in routes.starts]
    fitted_at = best(every, max_loss)[2].cut
    return [(start, fitted_at) for start in routes.starts]


def best(families: Sequence[Sequence[Tried]], max_loss: float) -> Tried:
    """Return the cheapest within `max_loss`, the first of equals; if there is none, the one that loses least."""
    tried = [each for family in families for each in family]
    within = [each for each in tried if each[0] <= max_loss]
    if not within:
        return min(tried, key=lambda each: each[0])
    lowest = min(ratio for _, ratio, _ in within)
    return next(each for each in within if each[1] * (1 - EQUAL) <= lowest)


def _along(routes: Routes, name: str, start: int, fitted_at: float | None) -> Iterator[Tried]:
    """Yield loss and cost on the tune fold of every cut of a route, ascending."""
    tune = routes.tune
    full = int(tune.correct[:, -1].sum())
    cuts = routes.cuts
    shared = routes.rule(name, cuts[0], start, fitted_at) if fitted_at is not None else None
    for cut in cuts:
        rule = routes.rule(name, cut, start) if shared is None else RouteRule(shared.route, cut)
        result = replay(tune, ruled(rule, tune.n_exits), routes.costs)
        yield (full - int(result.correct.sum())) / len(tune), result.cost_ratio, rule


def _search(problem: Problem, name: str) -> dict[str, Any]:
    """Return what the tune fold chose from, so that it can do so again."""
    settings = problem.settings.predictive
    start = "auto" if settings.start is None else settings.start + 1
    own = {"placement": settings.placement} if name == Placed.name else {}
    return {"route": name, "start": start, "cuts": settings.cuts, **own}
