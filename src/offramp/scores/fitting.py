"""Fitting a scoring on the tune rows of a validation cache: temperatures, and the parameters of fitted scores."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import softmax

from offramp.cache.folds import in_tune
from offramp.cache.reading import UNKNOWN, LogitCache
from offramp.project.errors import InputError
from offramp.scores.registry import Floats, Labels
from offramp.scores.scoring import Scoring

COLDEST, HOTTEST = 0.02, 50.0  # an exit that is always right (or at chance) on the rows would have 0 (or infinity)


def fit_temperature(logits: Floats, label: NDArray[np.int64]) -> float:
    """Return the temperature with the least negative log-likelihood for logits (samples, classes); 1.0 for no rows.

    The likelihood is convex in 1 / temperature; its slope, the mean expected logit less the mean logit of the label,
    crosses 0 once. Where it does not within [COLDEST, HOTTEST], the nearer end.
    """
    if len(label) == 0:
        return 1.0
    logits = logits - logits.max(axis=1, keepdims=True)
    of_label = logits[np.arange(len(label)), label].mean()

    def slope(inverse: float) -> float:
        expected = (softmax(inverse * logits, axis=1) * logits).sum(axis=1).mean()
        return float(expected - of_label)

    if slope(1 / HOTTEST) >= 0:
        return HOTTEST
    if slope(1 / COLDEST) <= 0:
        return COLDEST
    return float(1 / brentq(slope, 1 / HOTTEST, 1 / COLDEST, xtol=1e-14))


def fit_temperatures(logits: Floats, label: NDArray[np.int64]) -> list[float]:
    """Return every exit's temperature for logits (samples, exits, classes)."""
    return [fit_temperature(logits[:, k], label) for k in range(logits.shape[1])]


FIT_ROWS = 20_000  # tune rows that a fit sees at most: more do not move it, and their logits are held in memory


def fit_scoring(
    cache: LogitCache,
    score: str,
    temperature: str,
    tune_fraction: float,
    fold_seed: int,
    statistic: str = "mean_max",
) -> Scoring:
    """Return the scoring for a validation cache; `temperature` is `none` or `per_exit`.

    `statistic` is that of score `activation` alone. Raises InputError where a fit needs tune rows (for temperatures and
    the statistic `winning_correct`: labelled ones) and there are none.
    """
    scoring = Scoring.plain(score, cache.exits)
    record = scoring.record
    rows = TuneRowsOf(cache, tune_fraction, fold_seed, scoring, statistic)
    if temperature != "none":
        if not record.takes_temperature:
            raise InputError(f"score {score!r} takes no temperature: set uncertainty.temperature to none")
        label, logits = rows.held
        labelled = label != UNKNOWN
        if not labelled.any():
            raise InputError(f"{cache.path} has no labelled row in the tune fold to fit uncertainty.temperature on")
        fitted = fit_temperatures(logits[labelled], label[labelled])
        scoring = replace(scoring, temperature=dict(zip(cache.exits, fitted, strict=True)))
    if record.fit is None:
        return scoring
    return replace(scoring, fitted=record.fit(rows.under(scoring)))


@dataclass(frozen=True)
class TuneRowsOf:
    """The tune rows of a cache, for a fit; see `scores.registry.TuneRows`."""

    cache: LogitCache
    tune_fraction: float
    fold_seed: int
    scoring: Scoring
    statistic: str

    @property
    def source(self) -> str:
        return str(self.cache.path)

    @property
    def n_exits(self) -> int:
        return len(self.cache.exits)

    def batches(self) -> Iterator[tuple[Labels, Floats]]:
        return tune_batches(self.cache, self.tune_fraction, self.fold_seed)

    def some(self) -> tuple[Labels, Floats]:
        label, logits = self.held
        return label, logits / np.array(list(self.scoring.temperature.values()))[:, None]

    def under(self, scoring: Scoring) -> "TuneRowsOf":
        """Return the same rows under these temperatures, what was read kept."""
        found = replace(self, scoring=scoring)
        if "held" in self.__dict__:
            found.__dict__["held"] = self.held
        return found

    @cached_property
    def held(self) -> tuple[Labels, Floats]:
        """Return labels and logits, not scaled, of at most about FIT_ROWS rows."""
        return tune_logits(self.cache, self.tune_fraction, self.fold_seed)


def tune_logits(cache: LogitCache, tune_fraction: float, fold_seed: int) -> tuple[NDArray[np.int64], Floats]:
    """Return labels (rows,) and logits (rows, exits, classes) of the tune fold, about FIT_ROWS of it at most.

    Which ones are kept depends on the hash that deals the folds, not on the order of the rows.
    """
    fraction = min(tune_fraction, FIT_ROWS / cache.n_rows)
    labels, logits = zip(*tune_batches(cache, fraction, fold_seed), strict=True)
    return np.concatenate(labels), np.concatenate(logits)


def tune_batches(cache: LogitCache, tune_fraction: float, fold_seed: int) -> Iterator[tuple[NDArray[np.int64], Floats]]:
    """Yield labels (rows,) and logits (rows, exits, classes) of the tune fold, as the cache is read."""
    for rows in cache.read():
        tune = in_tune(rows.sample, tune_fraction, fold_seed)
        yield rows.label[tune], rows.logits[tune].astype(np.float64)
