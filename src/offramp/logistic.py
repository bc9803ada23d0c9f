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
    """A fitted regression: `weights` (predictors,) and an intercept."""

    weights: Floats
    intercept: float

    def log_odds(self, predictors: Floats) -> Floats:
        """Return the log-odds of the outcome for predictors (samples, predictors)."""
        return predictors @ self.weights + self.intercept


def fit_logistic(predictors: Floats, outcome: NDArray[np.bool_]) -> Logistic:
    """Return the regression of `outcome` (samples,) on standardised `predictors` (samples, predictors).

    Minimises the negative log-likelihood plus RIDGE/2 times the squared weights, the intercept among them, down to
    rounding: who fits it again to check a certificate must find the same thresholds.
    """
    design = np.column_stack([predictors, np.ones(len(predictors))])
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
    return Logistic(near[:-1], float(near[-1]))
