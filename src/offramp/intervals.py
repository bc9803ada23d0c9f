"""Confidence intervals, two-sided, 95 % unless told otherwise."""

import math

from scipy.optimize import brentq
from scipy.special import ndtri

LEVEL = 0.95


def wilson(correct: int, total: int, level: float = LEVEL) -> tuple[float, float]:
    """Return Wilson's score interval for a proportion; (0, 1) when `total` is 0.

    Reference: Wilson (1927), JASA 22(158).
    """
    if total == 0:
        return 0.0, 1.0
    z2 = _quantile(level) ** 2
    centre = (correct + z2 / 2) / (total + z2)
    half = math.sqrt(z2 * (correct * (total - correct) / total + z2 / 4)) / (total + z2)
    low = 0.0 if correct == 0 else max(0.0, centre - half)  # exact at both ends, where rounding would leave one bit
    high = 1.0 if correct == total else min(1.0, centre + half)
    return low, high


def paired_loss(damaged: int, rescued: int, total: int, level: float = LEVEL) -> tuple[float, float]:
    """Return Tango's score interval for a loss of accuracy, (damaged − rescued) / total, on the same samples.

    `damaged` samples are right in the full network and wrong early, `rescued` ones the other way round. The interval
    holds every loss that a score test at 1 − `level` does not reject; (−1, 1) when `total` is 0.

    Reference: Tango (1998), Statistics in Medicine 17(8).
    """
    if total == 0:
        return -1.0, 1.0
    z = _quantile(level)
    loss = (damaged - rescued) / total

    def low_side(eps: float) -> float:
        return _paired_score(damaged, rescued, total, eps) - z

    def high_side(eps: float) -> float:
        return _paired_score(damaged, rescued, total, eps) + z

    edge = 1 - 1e-12
    low = brentq(low_side, -edge, loss) if loss > -edge else -1.0
    high = brentq(high_side, loss, edge) if loss < edge else 1.0
    return float(low), float(high)


def _paired_score(damaged: int, rescued: int, total: int, eps: float) -> float:
    """Return the score statistic of the hypothesis that the loss is `eps`; its variance is estimated under it."""
    difference, changed = damaged - rescued, damaged + rescued
    b = changed + eps * difference
    square = b * b - 4 * total * (eps * difference - (total - changed) * eps * eps)
    q = (b + math.sqrt(max(square, 0.0))) / (2 * total)  # restricted maximum-likelihood P(changed)
    variance = total * (q - eps * eps)
    deviation = difference - total * eps
    if variance <= 0:
        return 0.0 if deviation == 0 else math.copysign(math.inf, deviation)
    return deviation / math.sqrt(variance)


def _quantile(level: float) -> float:
    return float(ndtri((1 + level) / 2))
