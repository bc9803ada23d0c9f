"""The route and the chain of a certified route, derived again from the tune fold: start, fits, cuts in order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from offramp.recheck.chains import EQUAL, THINNING, Thresholds, first_leave
from offramp.recheck.costs_schema import StatedCosts
from offramp.recheck.report import Finding, same
from offramp.recheck.routes import Model, Route, terms
from offramp.recheck.rows import Table
from offramp.recheck.schema import Search

Floats = NDArray[np.float64]
FIT = 1e-5  # by which expected costs, fractions of the full network's, may differ from a new fit
RIDGE, CONSTANT = 1.0, 1e-9
FITTED = ("learned",)
Tried = tuple[float, float, Route, float]  # loss, cost, route, cut


def cut_grid(tune: Table, number: int) -> list[float]:
    """Return cuts, ascending: midway after quantiles of all uncertainties; the last lets everyone go."""
    values = np.sort(tune.uncertainty[:, :-1], axis=None)
    cuts = []
    for place in np.round(np.linspace(0, len(values) - 1, number)).astype(int):
        cut = first_leave(np.append(values, values[-1] + 1.0), int(place) + 1)
        assert cut is not None, "there is an uncertainty before it"
        cuts.append(cut)
    return sorted(set(cuts))


@dataclass(frozen=True)
class Derived:
    """The route that the tune fold chooses, the cut it is fitted for (None: not fitted), and its chain of cuts."""

    route: Route
    fitted_at: float | None
    cuts: list[float]


def derived(stated: Route, search: Search, tune: Table, costs: StatedCosts, target: float) -> Derived:
    """Return what the tune fold gives; arguments that are not chosen on it are those stated."""
    cuts = cut_grid(tune, search.cuts)
    starts = list(range(tune.n_exits - 1)) if search.start == "auto" else [search.start - 1]
    fitted_at = None
    if stated.name == "placed":
        every = [_fixed(stated, starts[0], cut, search, tune, costs) for cut in cuts]
        routes = [route for k, route in enumerate(every) if route not in every[:k]]
    else:
        if stated.name in FITTED:
            fitted_at = _best([_along(Route("every_exit", s), cuts, tune, costs) for s in starts], target)[3]
        routes = [_fixed(stated, start, fitted_at, search, tune, costs) for start in starts]
    families = [_along(route, cuts, tune, costs) for route in routes]
    chosen = _best(families, target)[2]
    chain, cheapest = [], 1.0
    for _, paid, _, cut in next(family for family in families if family[0][2] is chosen):
        if paid <= cheapest - THINNING:
            chain.append(cut)
            cheapest = paid
    return Derived(chosen, fitted_at, chain)


def chain_of(route: Route, cuts: Sequence[float], n_exits: int) -> list[Thresholds]:
    """Return the thresholds that stand for each cut."""
    return [(*(cut if route.looks_at(k) else None for k in range(n_exits - 1)), np.inf) for cut in cuts]


def route_findings(stated: Route, fitted_cut: float, own: Derived, tune: Table) -> Iterator[Finding]:
    """Confirm that a policy's route is the one that the tune fold gives."""
    route = own.route
    if route.name == "placed":
        given, expected = ([number + 1 for number in each.exits] for each in (stated, route))
        yield Finding(given == expected, f"it looks at the exits {given}; the placement again gives {expected}")
        return
    yield Finding(stated.start == route.start, f"it starts at exit_{stated.start + 1}; derived: exit_{route.start + 1}")
    if route.name != "learned" or stated.start != route.start or own.fitted_at is None:
        return
    text = f"it was fitted for the cut {fitted_cut:.7g}; derived: {own.fitted_at:.7g}"
    yield Finding(same(fitted_cut, own.fitted_at), text)
    assert tune.predictors is not None, "the table was read for this route"
    worst = 0.0
    for k, (model, fitted) in enumerate(zip(stated.models, route.models, strict=True), start=route.start):
        gap = np.abs(model.expected(tune.predictors[:, k]) - fitted.expected(tune.predictors[:, k]))
        worst = max(worst, float(gap.max()))
    yield Finding(worst <= FIT, f"its learned costs differ by up to {worst:.2g} from a fit on the tune fold")


def _fixed(
    stated: Route, start: int, fitted_at: float | None, search: Search, tune: Table, costs: StatedCosts
) -> Route:
    route = replace(stated, start=start, models=(), exits=())
    if fitted_at is None:
        return route
    if stated.name == "placed":
        return replace(route, exits=_placed(tune, fitted_at, search.placement or 0.0, costs, start))
    return replace(route, models=_learned(tune, fitted_at, start, costs))


def _along(route: Route, cuts: Sequence[float], tune: Table, costs: StatedCosts) -> list[Tried]:
    found = []
    full = int(tune.correct[:, -1].sum())
    for cut in cuts:
        walked = route.walk(tune, cut)
        right = int(tune.correct[np.arange(len(tune)), walked.taken].sum())
        found.append(((full - right) / len(tune), route.cost_ratio(walked, costs, tune.n_classes), route, cut))
    return found


def _best(families: Sequence[Sequence[Tried]], target: float) -> Tried:
    """Return the cheapest whose loss is at most the target, the first of equals; else what loses least."""
    tried = [each for family in families for each in family]
    within = [each for each in tried if each[0] <= target]
    if not within:
        return min(tried, key=lambda each: each[0])
    lowest = min(each[1] for each in within)
    return next(each for each in within if each[1] * (1 - EQUAL) <= lowest)


def _placed(tune: Table, cut: float, theta: float, costs: StatedCosts, start: int) -> tuple[int, ...]:
    """Return the exits m with (θ − c)·y1 − (1 − c)·yc − (1 − θ)·y0 ≥ 0; c: the share that does not leave there."""
    assert costs.segment is not None and costs.head is not None, "checked where the costs were read"
    kept = []
    for m in range(start, tune.n_exits - 1):
        stays = 1 - float((tune.uncertainty[:, m] <= cut).mean())
        own, after, head = costs.segment[m], costs.segment[m + 1], costs.head[m]
        if (theta - stays) * after - (1 - stays) * head - (1 - theta) * own >= 0:
            kept.append(m)
    return tuple(kept)


def _learned(tune: Table, cut: float, start: int, costs: StatedCosts) -> tuple[Model, ...]:
    """Return the regressions of what looking next at each exit ahead really costs, fitted from the last exit back."""
    assert costs.segment is not None and costs.head is not None and tune.predictors is not None, "checked before"
    n, last = len(tune), tune.n_exits - 1
    head, reach = np.array(costs.head) / costs.full, np.cumsum(np.array(costs.segment) / costs.full)
    fires = tune.uncertainty <= cut
    paid = np.zeros((n, last + 1))
    paid[:, last] = head[last]
    models: list[Model] = []
    for k in reversed(range(start, last)):
        ahead = paid[:, k + 1 :] + (reach[k + 1 :] - reach[k])
        following = ahead[:, 0]
        if k < last - 1:
            seen = tune.predictors[:, k]
            model = _regressed(seen, ahead, ~fires[:, start] & ~fires[:, k])
            models.insert(0, model)
            chosen = model.expected(seen).argmin(axis=1)
            following = model.weights.size / costs.full + ahead[np.arange(n), chosen]
        paid[:, k] = head[k] + np.where(fires[:, k], 0.0, following)
    return tuple(models)


def _regressed(seen: Floats, paid: Floats, rows: NDArray[np.bool_]) -> Model:
    """Return ridge regressions of `paid` (samples, exits ahead) on these rows' predictors, by least squares."""
    n_terms = 1 + 2 * seen.shape[1]
    if not rows.any():
        return Model(np.zeros(seen.shape[1]), np.ones(seen.shape[1]), np.zeros((paid.shape[1], n_terms)))
    mean, spread = seen[rows].mean(axis=0), seen[rows].std(axis=0)
    spread = np.where(spread > CONSTANT, spread, 1.0)
    ridge = np.sqrt(np.array([1e-9] + [RIDGE] * (n_terms - 1)))
    design = np.concatenate([terms(seen[rows], mean, spread), np.diag(ridge)])
    weights = np.linalg.lstsq(design, np.concatenate([paid[rows], np.zeros((n_terms, paid.shape[1]))]), rcond=None)[0]
    return Model(mean, spread, weights.T)
