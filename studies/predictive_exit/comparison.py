"""Routes at equal accuracy: each with the cut that reaches a target most cheaply on validation rows, then on test rows.

A family is a route for every cut; a name may stand for several, as one per start. Both are chosen on
validation, never on test; there, costs and accuracies are compared with those of a reference on the same samples.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from offramp.policies.costs import Costs
from offramp.policies.outcomes import Outcomes
from offramp.policies.routes.observed import Mask
from offramp.policies.routes.walk import Route, heads_per_sample, step_costs, walk_costs
from offramp.scores.registry import Floats
from offramp.statistics.bootstrap import bootstrap_means

Family = Callable[[float], Route]
REFERENCE = "every_exit"


@dataclass(frozen=True)
class Curve:
    """Accuracy, mean cost and heads per sample of a family at every cut, (cuts,) each."""

    cuts: Floats
    accuracy: Floats
    cost: Floats
    heads: Floats


@dataclass(frozen=True)
class Measured:
    """One route on one table: whether each answer is right and what it cost, (samples,), and heads per sample."""

    correct: Mask
    cost: Floats
    heads: float

    @property
    def accuracy(self) -> float:
        return float(self.correct.mean())


@dataclass(frozen=True)
class Compared:
    """A family at the cut chosen for it, on test rows; differences are from the reference, with 95 % intervals.

    `feasible` is False where no cut reaches the target on validation; then the cut is that of the highest accuracy.
    `cost_ratio` is the mean cost as a fraction of the full network's.
    """

    name: str
    route: Route
    cut: float
    feasible: bool
    validation_accuracy: float
    accuracy: float
    cost: float
    cost_ratio: float
    heads: float
    cost_difference: tuple[float, float, float]  # as a fraction of the full cost: mean, low, high
    accuracy_difference: tuple[float, float, float]
    measured: Measured


def measure_route(table: Outcomes, route: Route, cut: float, costs: Costs) -> Measured:
    walk = route.walk(table, cut)
    paid = walk_costs(walk, costs, step_costs(route, costs, table.n_classes))
    return Measured(table.correct[np.arange(len(table)), walk.taken], paid, heads_per_sample(walk))


def sweep(table: Outcomes, family: Family, cuts: Floats, costs: Costs) -> Curve:
    """Return a family's curve on a table."""
    found = [measure_route(table, family(cut), cut, costs) for cut in cuts.tolist()]
    columns = [(each.accuracy, float(each.cost.mean()), each.heads) for each in found]
    return Curve(cuts, *np.array(columns, np.float64).reshape(-1, 3).T)


def choose(curve: Curve, target: float) -> tuple[int, bool]:
    """Return the position of the cheapest cut whose accuracy reaches the target, and whether there is one.

    Of equally cheap ones the most accurate; where there is none, the most accurate, the cheapest of equals.
    """
    reaching = np.flatnonzero(curve.accuracy >= target)
    if len(reaching) == 0:
        return int(np.lexsort((curve.cost, -curve.accuracy))[0]), False
    order = np.lexsort((-curve.accuracy[reaching], curve.cost[reaching]))
    return int(reaching[order[0]]), True


def sweep_all(
    families: Mapping[str, Sequence[Family]], validation: Outcomes, cuts: Floats, costs: Costs
) -> dict[str, list[Curve]]:
    """Return the curves of all families; every target is chosen on them."""
    return {name: [sweep(validation, family, cuts, costs) for family in own] for name, own in families.items()}


def compare_routes(
    families: Mapping[str, Sequence[Family]],
    validation: Outcomes,
    test: Outcomes,
    cuts: Floats,
    costs: Costs,
    target: float,
    reference: str = REFERENCE,
    swept: Mapping[str, Sequence[Curve]] | None = None,
) -> list[Compared]:
    """Return every name's cheapest family and cut at equal accuracy, in the order given.

    `validation` should hold rows that fitted none of the routes; `swept` are the families' curves on it, made where
    they are not given. Raises ValueError where `reference` is no family.
    """
    if reference not in families:
        raise ValueError(f"the reference {reference!r} is none of the families {', '.join(families)}")
    curves = sweep_all(families, validation, cuts, costs) if swept is None else swept
    picked = {name: _pick(own, curves[name], target) for name, own in families.items()}
    measured = {name: measure_route(test, pick.route, pick.cut, costs) for name, pick in picked.items()}
    base = measured[reference]
    return [_compared(name, pick, measured[name], base, costs.full) for name, pick in picked.items()]


def _pick(variants: Sequence[Family], curves: Sequence[Curve], target: float) -> "_Pick":
    """Return the cheapest route, of all variants and cuts, whose accuracy reaches the target."""
    at, feasible = choose(_side_by_side(curves), target)
    variant, position = divmod(at, len(curves[0].cuts))
    cut = float(curves[variant].cuts[position])
    return _Pick(variants[variant](cut), cut, feasible, float(curves[variant].accuracy[position]))


def _side_by_side(curves: Sequence[Curve]) -> Curve:
    columns = zip(*((curve.cuts, curve.accuracy, curve.cost, curve.heads) for curve in curves), strict=True)
    return Curve(*(np.concatenate(column) for column in columns))


@dataclass(frozen=True)
class _Pick:
    """What was chosen on validation for a name."""

    route: Route
    cut: float
    feasible: bool
    accuracy: float


def _compared(name: str, pick: _Pick, own: Measured, base: Measured, full: float) -> Compared:
    cost, accuracy = paired_differences(own, base, full)
    mean = float(own.cost.mean())
    chosen = (pick.route, pick.cut, pick.feasible, pick.accuracy)
    return Compared(name, *chosen, own.accuracy, mean, mean / full, own.heads, cost, accuracy, own)


def paired_differences(own: Measured, base: Measured, full: float) -> Sequence[tuple[float, float, float]]:
    """Return the differences of mean cost, as a fraction of `full`, and accuracy: mean, low, high of each.

    Samples are resampled as pairs; those with equal differences are one cell.
    """
    changes = np.stack([(own.cost - base.cost) / full, own.correct.astype(np.float64) - base.correct], axis=1)
    cells, counts = np.unique(changes, axis=0, return_counts=True)
    intervals = bootstrap_means(cells, counts)
    means = changes.mean(axis=0)
    return [(float(mean), float(low), float(high)) for mean, (low, high) in zip(means, intervals, strict=True)]
