"""Logistic regression with a light ridge, for a handful of predictors; convex: every solver finds the same fit."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

Floats = NDArray[np.float64]
RIDGE = 1e-2  # keeps the fit finite where the outcome never or always happens; negligible beside a hundred rows


@dataclass(frozen=True)
class Logistic:
    """A fitted regression: `weights` (predictors,) of predictors less `mean` over `spread`, and an intercept."""

    weights: Floats
    intercept: float
    mean: Floats
    spread: Floats

    def log_odds(self, predictors: Floats) -> Floats:
        """Return the log-odds of the outcome for predictors (samples, predictors)."""
        return (predictors - self.mean) / self.spread @ self.weights + self.intercept

    def raw(self) -> tuple[Floats, float]:
        """Return weights and intercept for predictors as they are."""
        weights = self.weights / self.spread
        return weights, float(self.intercept - weights @ self.mean)


def fit_logistic(predictors: Floats, outcome: NDArray[np.bool_], constant: float = 0.0) -> Logistic:
    """Return the regression of `outcome` (samples,) on `predictors` (samples, predictors), standardised first.

    A predictor whose spread is at most `constant` keeps its scale. Minimises the negative log-likelihood plus RIDGE/2
    times the squared weights, the intercept among them, down to rounding: who fits it again to check a certificate
    must find the same thresholds.
    """
    mean, spread = predictors.mean(axis=0), predictors.std(axis=0)
    spread = np.where(spread > constant, spread, 1.0)
    design = np.column_stack([(predictors - mean) / spread, np.ones(len(predictors))])
    sign = np.where(outcome, -1.0, 1.0)

    def objective(weights: Floats) -> float:
        return float(np.logaddexp(0.0, sign * (design @ weights)).sum() + RIDGE / 2 * weights @ weights)

    def gradient(weights: Floats) -> Floats:
        return design.T @ (sign * expit(sign * (design @ weights))) + RIDGE * weights

    def hessian(weights: Floats) -> Floats:
        p = expit(design @ weights)
        return (design.T * (p * (1 - p))) @ design + RIDGE * np.eye(len(weights))

    start = np.zeros(design.shape[1])
    near = minimize(objective, start, jac=gradient, hess=hessian, method="trust-exact", options={"gtol": 1e-6}).x
    for _ in range(3):  # Newton's last steps, where the objective itself no longer changes in its last bit
        near = near - np.linalg.solve(hessian(near), gradient(near))
    return Logistic(near[:-1], float(near[-1]), mean, spread)
