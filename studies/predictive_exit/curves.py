"""Accuracy against cost of every route: its best starts and cuts on validation rows, measured on test rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from offramp.calibration.routes import cut_grid
from offramp.policies.costs import Costs
from offramp.scores.registry import Floats
from studies.predictive_exit.comparison import Curve, Family, measure_route, sweep_all
from studies.predictive_exit.families import Options, families
from studies.predictive_exit.material import Scored

POINTS = 16  # of a curve, at most


@dataclass(frozen=True)
class Swept:
    """All families of a score, and their curves on validation rows at the same cuts (cuts,)."""

    scored: Scored
    costs: Costs
    families: Mapping[str, Sequence[Family]]
    cuts: Floats
    curves: Mapping[str, Sequence[Curve]]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the points of every route, the cheapest first.

        A point is a variant (a start or a placement) and a cut that no other beats on validation rows; accuracy, cost
        and heads beside are those of test rows.
        """
        test = self.scored.test
        for name, variants in self.families.items():
            curves = self.curves[name]
            for place in envelope(
                np.concatenate([curve.cost for curve in curves]), np.concatenate([curve.accuracy for curve in curves])
            ):
                variant, at = divmod(place, len(self.cuts))
                cut = float(self.cuts[at])
                route = variants[variant](cut)
                found = measure_route(test, route, cut, self.costs)
                row: dict[str, Any] = {"score": self.scored.name, "policy": name}
                row |= {"start": min(route.start, test.last) + 1, "cut": cut}
                row |= {"validation_accuracy": float(curves[variant].accuracy[at]), "accuracy": found.accuracy}
                row |= {"mac_ratio": float(found.cost.mean()) / self.costs.full, "heads": found.heads}
                yield {key: float(f"{value:.6g}") if type(value) is float else value for key, value in row.items()}


def sweep_scored(scored: Scored, costs: Costs, cuts: int, options: Options) -> Swept:
    """Return all routes of a score, swept once over at most so many cuts."""
    grid = grid_of(scored, cuts)
    named = families(scored.tune, scored.runs_engine, costs, options, grid.tolist())
    return Swept(scored, costs, named, grid, sweep_all(named, scored.validation, grid, costs))


def grid_of(scored: Scored, cuts: int) -> Floats:
    """Return the cuts that are tried; those of `activation` are −β, below 0."""
    grid = np.array(cut_grid(scored.tune.uncertainty[:, :-1], cuts))
    below = grid[grid < 0] if scored.runs_engine else grid
    return below if len(below) else np.array([-1.0])


def envelope(cost: Floats, accuracy: Floats, most: int = POINTS) -> list[int]:
    """Return the positions of points (points,) more accurate than every cheaper one, from cheap to dear.

    Of more than `most` the best within budgets that are evenly spaced from the cheapest to the dearest.
    """
    order = np.lexsort((-accuracy, cost))
    best = np.maximum.accumulate(accuracy[order])
    kept = order[np.concatenate([[True], best[1:] > best[:-1]])]
    if len(kept) > most:
        budgets = np.linspace(cost[kept[0]], cost[kept[-1]], most)
        kept = kept[np.unique(np.searchsorted(cost[kept], budgets, side="right") - 1)]
    return [int(place) for place in kept]
