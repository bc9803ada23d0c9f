"""The fits behind a scoring and a chain, made again: a logistic regression with a ridge, and temperatures."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from offramp.recheck.schema import ChangeWeights
from offramp.recheck.scores import change_predictors, log_softmax, n_change_predictors

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
RIDGE = 1e-2  # times half the squared weights, the intercept's too, of standardised predictors
COLDEST, HOTTEST = 0.02, 50.0
HALVINGS = 55


def fitted_log_odds(predictors: Floats, outcome: NDArray[np.bool_]) -> Floats:
    """Return the log-odds (samples,) that a logistic regression gives its own samples (samples, predictors)."""
    standard, _, _ = standardised(predictors, 0.0)
    weights = logistic(standard, outcome)
    return standard @ weights[:-1] + weights[-1]


def standardised(predictors: Floats, constant: float) -> tuple[Floats, Floats, Floats]:
    """Return predictors less their mean, over their spread; mean and spread. A spread up to `constant` counts as 1."""
    mean, spread = predictors.mean(axis=0), predictors.std(axis=0)
    spread = np.where(spread > constant, spread, 1.0)
    return (predictors - mean) / spread, mean, spread


def logistic(predictors: Floats, outcome: NDArray[np.bool_]) -> Floats:
    """Return weights (predictors + 1,), the intercept last, by Newton's method with halved steps."""
    design = np.column_stack([predictors, np.ones(len(predictors))])

    def value(weights: Floats) -> float:
        log_odds = design @ weights
        return float((np.logaddexp(0, log_odds) - outcome * log_odds).sum() + RIDGE / 2 * (weights**2).sum())

    weights = np.zeros(design.shape[1])
    for _ in range(200):
        p = expit(design @ weights)
        slope = design.T @ (p - outcome) + RIDGE * weights
        bend = design.T @ (design * (p * (1 - p))[:, None]) + RIDGE * np.eye(len(weights))
        step = np.linalg.solve(bend, slope)
        if np.abs(step).max() > 1e-5:  # nearer, the value no longer changes in its last bits and full steps converge
            now = value(weights)
            while value(weights - step) > now:
                step = step / 2
        weights = weights - step
        if np.abs(step).max() <= 1e-12 * (1 + np.abs(weights).max()):
            break
    return weights


def temperature(logits: Floats, label: Ints) -> float:
    """Return the temperature with the greatest likelihood of the labels, for logits (samples, classes); 1.0 for none.

    In b = 1 / temperature the log-likelihood is concave; its slope, Σ (logit of the label − mean logit under
    softmax(b·logits)), is halved in on between 1 / HOTTEST and 1 / COLDEST, the ends included.
    """
    if len(label) == 0:
        return 1.0
    logits = logits - logits.max(axis=1, keepdims=True)
    of_label = logits[np.arange(len(label)), label].sum()

    def rising(b: float) -> bool:
        return bool(of_label > (np.exp(log_softmax(b * logits)) * logits).sum())

    if not rising(1 / HOTTEST):
        return HOTTEST
    if rising(1 / COLDEST):
        return COLDEST
    low, high = 1 / HOTTEST, 1 / COLDEST
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) else (low, middle)
    return 2 / (low + high)


def activation_thresholds(batches: Iterable[tuple[Ints, Floats]], n_exits: int, statistic: str) -> list[float]:
    """Return T of each exit by a statistic, from labels (rows,) and logits (rows, exits, classes)."""
    rows, winners = 0, np.zeros((n_exits, 3))  # sums, how many were summed, sums over all rows
    for label, z in batches:
        rows += len(z)
        largest, right = z.max(axis=2), z.argmax(axis=2) == label[:, None]
        if statistic == "winning_correct":
            winners += np.stack([(largest * right).sum(axis=0), right.sum(axis=0), largest.sum(axis=0)], axis=1)
        elif statistic == "mean_max":
            winners[:, 0] += np.abs(z).max(axis=2).sum(axis=0)
            winners[:, 1] += len(z)
        else:
            winners[:, 0] += (np.abs(z) if statistic == "mean_abs" else z).sum(axis=(0, 2))
            winners[:, 1] += z.shape[0] * z.shape[2]
    if rows == 0:
        return [np.nan] * n_exits
    return [abs(total / count if count else every / rows) for total, count, every in winners.tolist()]


def change_error(logits: Floats, stated: Mapping[str, ChangeWeights]) -> tuple[float, str]:
    """Return how far the stated weights of score `change` are from a new fit on logits (samples, exits, classes).

    In units of standardised predictors, the largest difference of all exits and the exit that has it.
    """
    answers = logits.argmax(axis=2)
    worst = (0.0, "")
    for k, (name, parameters) in enumerate(stated.items()):
        if len(parameters.weights) != n_change_predictors(k, logits.shape[2]):
            return np.inf, name
        standard, mean, spread = standardised(change_predictors(logits, k), 1e-9)
        own = logistic(standard, answers[:, k] != answers[:, -1])
        weights = np.array(parameters.weights)
        given = np.append(weights * spread, parameters.intercept + weights @ mean)
        worst = max(worst, (float(np.abs(given - own).max()), name))
    return worst
