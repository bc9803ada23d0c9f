"""Fitting a scoring: temperatures, and the scores `change` and `activation`, on tune rows of a validation cache."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from offramp.cache.reading import UNKNOWN, LogitCache
from offramp.change import fit_change
from offramp.errors import InputError
from offramp.folds import in_tune
from offramp.predictive.activation import Activation, thresholds_of
from offramp.scoring import ACTIVATION, CHANGE, Scoring
from offramp.temperature import fit_temperatures

Floats = NDArray[np.float64]
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
    if score == ACTIVATION:
        if temperature != "none":
            raise InputError("score 'activation' takes no temperature: set uncertainty.temperature to none")
        batches = ((logits, label) for label, logits in tune_batches(cache, tune_fraction, fold_seed))
        found = thresholds_of(len(cache.exits), batches, statistic)
        return replace(scoring, activation=Activation(found, statistic=statistic))
    if temperature == "none" and score != CHANGE:
        return scoring
    label, logits = tune_logits(cache, tune_fraction, fold_seed)
    if temperature == "per_exit":
        labelled = label != UNKNOWN
        if not labelled.any():
            raise InputError(f"{cache.path} has no labelled row in the tune fold to fit uncertainty.temperature on")
        fitted = fit_temperatures(logits[labelled], label[labelled])
        scoring = replace(scoring, temperature=dict(zip(cache.exits, fitted, strict=True)))
    if score == CHANGE:
        if len(label) == 0:
            raise InputError(f"{cache.path} has no row in the tune fold to fit the score 'change' on")
        scaled = logits / np.array(list(scoring.temperature.values()))[:, None]
        scoring = replace(scoring, change=fit_change(scaled))
    return scoring


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
