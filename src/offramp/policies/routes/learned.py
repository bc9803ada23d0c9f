"""A learned forecast: from what one exit shows, the expected cost of looking next at each exit ahead.

At an exit where the rule does not fire, looking next at exit t costs the segments up to t, its head and, where it does
not fire there either, what follows. Regressions of that cost on the exit's predictors are fitted on tune rows from the
last exit backwards, each on what the regressions after it would really have paid, and the jump is the cheapest. It
weighs heads run for nothing against segments run too many in the costs given, for any score of ours, and knows nothing
of the order of classes. The regressions belong to one cut.

Reference: Longstaff & Schwartz (2001), Valuing American options by simulation, Review of Financial Studies 14(1): the
same regression backwards in time on realised payoffs, for when to stop.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from offramp.policies.costs import Costs
from offramp.policies.outcomes import Outcomes
from offramp.policies.routes.observed import Ints, Mask, Seen
from offramp.policies.routes.walk import Route, parts
from offramp.scores.registry import Floats
from offramp.scores.scoring import rounded

RIDGE = 1.0  # on standardised terms, the constant excepted: a row's worth of evidence for no dependence
FARTHEST = 4.0  # spreads from the mean at which a predictor is held: squares do not extrapolate
CONSTANT = 1e-9  # spread of a predictor that is the same for all rows but for rounding
LARGEST = 1e12  # of a number in a file


@dataclass(frozen=True, eq=False)
class ExitModel:
    """The regressions of one exit: `mean` and `spread` (predictors,), `weights` (exits ahead, 1 + 2 predictors).

    Costs are fractions of the full network's.
    """

    mean: Floats
    spread: Floats
    weights: Floats

    def expected(self, seen: Floats) -> Floats:
        """Return the expected costs (samples, exits ahead) of predictors (samples, predictors), to 30 bits.

        Terms are added one after the other: a product of matrices would depend, in its last bits, on how many samples
        are asked about at once.
        """
        terms = _terms(seen, self.mean, self.spread)
        total = np.zeros((len(seen), len(self.weights)))
        for term, weight in zip(terms.T, self.weights.T, strict=True):
            total += term[:, None] * weight
        return rounded(total)

    def jumps(self, seen: Floats) -> Ints:
        """Return the cheapest jumps (samples,), the shortest of equals."""
        return np.asarray(1 + self.expected(seen).argmin(axis=1), np.intp)

    def to_json(self) -> dict[str, Any]:
        return {"mean": self.mean.tolist(), "spread": self.spread.tolist(), "weights": self.weights.tolist()}


@dataclass(frozen=True, kw_only=True)
class Learned(Route):
    """A route by learned forecasts, with a model for each exit from `start` to the one before the last side exit.

    `cut` is the one that the models were fitted for. The final classifier is one of the exits ahead, so nothing is
    clamped.
    """

    name: ClassVar[str] = "learned"
    shows: ClassVar[tuple[str, ...]] = ("predictors",)
    cut: float
    models: tuple[ExitModel, ...] = field(compare=False)
    clamp: bool = False

    def jumps(self, seen: Seen, cut: float) -> Ints:
        del cut
        if seen.predictors is None:
            raise ValueError("route 'learned' needs predictors; make the Look with predictors=True")
        return self.models[seen.exit - self.start].jumps(seen.predictors)

    def step_macs(self, n_exits: int, n_classes: int) -> Floats:
        del n_classes
        macs = np.zeros(n_exits)
        for k, model in enumerate(self.models):
            macs[self.start + k] = model.weights.size
        return macs


def fit_learned(tune: Outcomes, cut: float, costs: Costs, start: int = 0) -> Learned:
    """Return the route fitted on tune rows, for this cut and these costs; labels play no part.

    At an exit where every row fires, or that no row reaches, the next exit is looked at. Raises InputError for costs
    without segments and heads, ValueError for outcomes without predictors.
    """
    if tune.predictors is None:
        raise ValueError("a learned forecast needs predictors; make the Look with predictors=True")
    segment, head = (part / costs.full for part in parts(costs))
    reach, last, n = np.cumsum(segment), tune.last, len(tune)
    fires = tune.fires(cut)
    arriving = ~fires[:, min(start, last)]  # who fires at `start` is never seen later
    paid = np.empty((n, last + 1))  # when looking at an exit, from its head on
    paid[:, last] = head[last]
    models: list[ExitModel] = []
    for k in range(last - 1, start - 1, -1):
        ahead = reach[k + 1 :] - reach[k] + paid[:, k + 1 :]
        jumps, forecast = np.ones(n, np.intp), 0.0
        if k < last - 1:
            model = _fit(tune.predictors[:, k], ahead, arriving & ~fires[:, k])
            models.insert(0, model)
            jumps, forecast = model.jumps(tune.predictors[:, k]), model.weights.size / costs.full
        paid[:, k] = head[k] + np.where(fires[:, k], 0.0, forecast + ahead[np.arange(n), jumps - 1])
    return Learned(start=start, cut=cut, models=tuple(models))


def _fit(seen: Floats, paid: Floats, rows: Mask) -> ExitModel:
    """Return the regressions of `paid` (samples, exits ahead) on predictors (samples, predictors), of these rows."""
    n_terms = 1 + 2 * seen.shape[1]
    if not rows.any():
        return ExitModel(np.zeros(seen.shape[1]), np.ones(seen.shape[1]), np.zeros((paid.shape[1], n_terms)))
    seen, paid = seen[rows], paid[rows]
    mean, spread = seen.mean(axis=0), seen.std(axis=0)
    spread = np.where(spread > CONSTANT, spread, 1.0)
    terms = _terms(seen, mean, spread)
    ridge = np.diag([1e-9, *np.full(n_terms - 1, RIDGE)])
    weights = np.linalg.solve(terms.T @ terms + ridge, terms.T @ paid)
    return ExitModel(mean, spread, np.asarray(weights.T, np.float64))


def _terms(seen: Floats, mean: Floats, spread: Floats) -> Floats:
    """Return a constant, the standardised predictors and their squares, (samples, 1 + 2 predictors)."""
    standard = np.clip((seen - mean) / spread, -FARTHEST, FARTHEST)
    return np.concatenate([np.ones((len(seen), 1)), standard, standard**2], axis=1)


def model_from_json(name: str, content: Any, n_ahead: int) -> ExitModel:
    """Return one exit's model. Raises ValueError for other sizes, numbers that are none, and spreads not above 0."""
    try:
        mean, spread, weights = (np.array(content[key], np.float64) for key in ("mean", "spread", "weights"))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} of rule 'learned' needs mean, spread and weights: lists of numbers") from None
    if mean.ndim != 1 or spread.shape != mean.shape or weights.shape != (n_ahead, 1 + 2 * len(mean)):
        raise ValueError(f"{name} of rule 'learned' needs {n_ahead} rows of weights, 1 + 2 numbers per predictor each")
    if not all((np.abs(part) <= LARGEST).all() for part in (mean, spread, weights)) or not (spread > 0).all():
        raise ValueError(f"{name} of rule 'learned' has a number that is not finite, or a spread that is not above 0")
    return ExitModel(mean, spread, weights)
