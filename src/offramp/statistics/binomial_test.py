"""Exact tests of an accuracy: whole numbers in, Clopper & Pearson (1934)."""

from scipy.special import bdtr, betaincinv


def accuracy_p_value(correct: int, total: int, target: float) -> float:
    """Return the p-value of "the accuracy is below `target`": P(at most the wrong answers seen) at accuracy `target`.

    1.0 when `total` is 0. Raises ValueError for impossible counts.
    """
    if not 0 <= correct <= total:
        raise ValueError(f"{correct} correct of {total} is impossible")
    if total == 0:
        return 1.0
    return float(bdtr(total - correct, total, 1 - target))


def accuracy_lower_bound(correct: int, total: int, delta: float) -> float:
    """Return the Clopper–Pearson lower bound of an accuracy, wrong with probability at most `delta`.

    0.0 when `correct` is 0.
    """
    return 0.0 if correct == 0 else float(betaincinv(correct, total - correct + 1, delta))
