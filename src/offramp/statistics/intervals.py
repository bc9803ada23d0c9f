"""Confidence intervals, two-sided, 95 % unless told otherwise."""

import math
from functools import lru_cache

from scipy.optimize import brentq
from scipy.special import ndtri

from offramp.statistics.exact_tests import score_statistic

LEVEL = 0.95


def simultaneous(number: int, level: float = LEVEL) -> float:
    """Return the level at which each of `number` intervals must hold so that all hold together at `level`.

    Bonferroni's inequality: it needs no independence.
    """
    return 1 - (1 - level) / max(number, 1)


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


@lru_cache(maxsize=100_000)  # of many small classes, most have one of few tables
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

    def score(eps: float) -> float:
        return float(score_statistic(damaged - rescued, damaged + rescued, total, eps))

    edge = 1 - 1e-12
    low = brentq(lambda eps: score(eps) - z, -edge, loss) if loss > -edge else -1.0
    high = brentq(lambda eps: score(eps) + z, loss, edge) if loss < edge else 1.0
    return float(low), float(high)


def _quantile(level: float) -> float:
    return float(ndtri((1 + level) / 2))
