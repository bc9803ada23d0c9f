"""Exact tests: of an accuracy (binomial) and of the accuracy lost against the full network (paired).

The paired one asks whether that is really below `max_loss`. On n rows the policy damaged some answers (right in the
full network, wrong early: D = +1) and rescued others (D = −1). The hypothesis to reject is E[D] >= max_loss. What is
unknown besides is q = P(D ≠ 0); the p-value is the largest probability, over a confidence interval of level 1 − gamma
for q, of tables at least as extreme as the one seen, plus gamma (Berger & Boos 1994). It is at most alpha with
probability at most alpha, for every n, q and alpha.

Tables are ordered by the restricted score statistic (`score`: Hsueh, Liu & Chen 2001; more powerful) or by
damaged − rescued alone (`difference`). For each number of changed answers both orders reject small damage, so the worst
loss under the hypothesis is max_loss itself.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, betainc, betaincinv, gammaln

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
GAMMA = {"score": 1e-4, "difference": 1e-3}  # per order; a caller takes less where its level is below 100 of these
TOLERANCE = 2e-4  # by which a p-value may exceed the supremum; never falls short of it
WINDOW = 9.0  # standard deviations of the number of changed answers that are summed; the rest is below 1e-15


def score_statistic(
    difference: NDArray[np.number] | float, changed: NDArray[np.number] | float, n: int, loss: float
) -> Floats:
    """Return (difference − n·loss) over its standard error under the hypothesis E[D] = loss.

    The error uses the maximum-likelihood P(D ≠ 0) restricted to that hypothesis; where it is 0 the statistic is 0 for
    no deviation, else infinite. Reference: Tango (1998), Statistics in Medicine 17(8).
    """
    difference, changed = np.asarray(difference, np.float64), np.asarray(changed, np.float64)
    b = changed + loss * difference
    square = b * b - 4 * n * (loss * difference - (n - changed) * loss * loss)
    q = (b + np.sqrt(np.maximum(square, 0.0))) / (2 * n)
    variance = np.maximum(n * (q - loss * loss), 0.0)
    deviation = difference - n * loss
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(deviation == 0, 0.0, deviation / np.sqrt(variance))


@dataclass(frozen=True)
class Region:
    """Tables (damaged, rescued) of n rows: for `changed` = first … first + len − 1, damage up to `most` (−1: none).

    Closed: with a table, those with one less damaged or one more rescued belong to it too.
    """

    n: int
    first: int
    most: Ints


@lru_cache(maxsize=200_000)
def p_value(n: int, damaged: int, rescued: int, max_loss: float, order: str = "score", gamma: float = 1e-4) -> float:
    """Return the p-value of E[D] >= max_loss: at most `TOLERANCE` above the exact supremum plus gamma, never below.

    `gamma` must be fixed before looking. 1.0 for no rows. Raises ValueError for impossible counts, a `max_loss` outside
    (0, 1) or an unknown order.
    """
    changed = damaged + rescued
    if not (damaged >= 0 and rescued >= 0 and changed <= n and 0 < max_loss < 1):
        raise ValueError(f"damaged {damaged} and rescued {rescued} of n {n} at max_loss {max_loss} is no table")
    if order not in ORDERS:
        raise ValueError(f"unknown order {order!r}; known: {', '.join(sorted(ORDERS))}")
    if n == 0:
        return 1.0
    low, high = discordance_interval(changed, n, gamma)
    if high < max_loss:
        return gamma  # fewer answers changed than the hypothesis needs
    low = max(low, max_loss)
    first, last = _window(n, low)[0], _window(n, high)[1]
    region = Region(n, first, _close(ORDERS[order](n, damaged, rescued, max_loss, first, last)))
    return min(1.0, _supremum(region, max_loss, low, high) + gamma)


def discordance_interval(changed: int, n: int, gamma: float) -> tuple[float, float]:
    """Return the Clopper–Pearson interval of level 1 − gamma for P(D ≠ 0)."""
    low = 0.0 if changed == 0 else float(betaincinv(changed, n - changed + 1, gamma / 2))
    high = 1.0 if changed == n else float(betaincinv(changed + 1, n - changed, 1 - gamma / 2))
    return low, high


def probability(region: Region, q: float, max_loss: float) -> float:
    """Return the probability of the region where P(D ≠ 0) = q and E[D] = max_loss; q is at least max_loss."""
    first, last = _window(region.n, q)
    start, end = first - region.first, last + 1 - region.first
    changed = np.arange(first, last + 1)
    most = region.most[start:end]
    theta = (q + max_loss) / (2 * q)
    inside = np.where(most >= changed, 1.0, 0.0)
    some = (most >= 0) & (most < changed)
    inside[some] = betainc(changed[some] - most[some], most[some] + 1.0, 1 - theta)
    return float(_binomial(region.n, changed, q) @ inside)


def _score_region(n: int, damaged: int, rescued: int, max_loss: float, first: int, last: int) -> Ints:
    """Return, per number of changed answers, the most damage whose statistic is at most the observed one."""
    observed = float(score_statistic(damaged - rescued, damaged + rescued, n, max_loss))
    observed += 1e-10 * max(1.0, abs(observed))  # equal tables stay equal after rounding
    return most_damage(n, max_loss, observed, np.arange(first, last + 1))


def most_damage(n: int, max_loss: float, score: Floats | float, changed: Ints) -> Ints:
    """Return, per number of changed answers, the most damage with a score of at most `score`; −1: none."""
    low, high = np.full(len(changed), -1), changed.copy()  # the answer lies in [low, high]
    while (low < high).any():
        middle = (low + high + 1) // 2
        inside = score_statistic(2 * middle - changed, changed, n, max_loss) <= score
        low, high = np.where(inside, middle, low), np.where(inside, high, middle - 1)
    return low


def _difference_region(n: int, damaged: int, rescued: int, max_loss: float, first: int, last: int) -> Ints:  # noqa: ARG001
    changed = np.arange(first, last + 1)
    return np.maximum(np.minimum((damaged - rescued + changed) // 2, changed), -1)


ORDERS: dict[str, Callable[[int, int, int, float, int, int], Ints]] = {
    "score": _score_region,
    "difference": _difference_region,
}


def _close(most: Ints) -> Ints:
    """Return the smallest closed region that holds this one: `most` then grows by 0 or 1 from one count to the next."""
    steps = np.arange(len(most))
    forward = np.maximum.accumulate(most)
    return np.maximum.accumulate((forward - steps)[::-1])[::-1] + steps


def _supremum(region: Region, max_loss: float, low: float, high: float) -> float:
    """Return an upper bound, within TOLERANCE, of the region's probability over q in [low, high].

    Cells of q are split, the worst first, until none can hold more than the best value seen. Inside a cell the
    derivative is bounded term by term: see `_slopes`.
    """
    best = max(probability(region, low, max_loss), probability(region, high, max_loss))
    boundary = _Boundary.of(region, max_loss)
    edges = np.linspace(low, high, 9) if high > low else np.array([low, low])
    values = [probability(region, q, max_loss) for q in edges]
    best = max(best, *values)
    cells = [
        (-boundary.bound(q1, q2, p1, p2), q1, q2, p1, p2)
        for q1, q2, p1, p2 in zip(edges[:-1], edges[1:], values[:-1], values[1:], strict=True)
    ]
    heapq.heapify(cells)
    while -cells[0][0] > best + TOLERANCE and cells[0][2] - cells[0][1] > 1e-12:
        _, q1, q2, p1, p2 = heapq.heappop(cells)
        middle = (q1 + q2) / 2
        p = probability(region, middle, max_loss)
        best = max(best, p)
        heapq.heappush(cells, (-boundary.bound(q1, middle, p1, p), q1, middle, p1, p))
        heapq.heappush(cells, (-boundary.bound(middle, q2, p, p2), middle, q2, p, p2))
    return max(best, -cells[0][0])


@dataclass(frozen=True)
class _Boundary:
    """The derivative of a region's probability in q: a signed sum of trinomial probabilities of n − 1 rows.

    d/dq E[f] = n·E[½ f(damaged + 1) + ½ f(rescued + 1) − f] over n − 1 rows, and in a closed region exactly one table
    per number of changed answers contributes: the last one inside (−) where the next count allows no more damage, the
    first one outside (+) where it does.
    """

    n: int
    max_loss: float
    damaged: Floats
    rescued: Floats
    changed: Floats
    sign: Floats
    constant: Floats  # logarithm of the multinomial coefficient and the powers of ½

    @classmethod
    def of(cls, region: Region, max_loss: float) -> "_Boundary":
        n, steps = region.n - 1, np.diff(region.most)
        changed = np.arange(region.first, region.first + len(steps))
        damaged = region.most[:-1] + steps
        rescued = changed - damaged
        inside = (damaged >= 0) & (rescued >= 0) & (changed <= n)
        a, b = damaged[inside].astype(np.float64), rescued[inside].astype(np.float64)
        constant = gammaln(n + 1) - gammaln(a + 1) - gammaln(b + 1) - gammaln(n - a - b + 1) - (a + b) * np.log(2)
        return cls(region.n, max_loss, a, b, a + b, np.where(steps[inside] == 1, 1.0, -1.0), constant)

    def bound(self, q1: float, q2: float, p1: float, p2: float) -> float:
        """Return an upper bound of the probability in [q1, q2], where it is p1 and p2 at the ends.

        Every term is log-concave in q: inside the cell it is at least its smaller end value and at most what its
        tangents at the ends allow.
        """
        near = np.abs(self.changed - self.n * (q1 + q2) / 2) < WINDOW * np.sqrt(self.n * q2 * (1 - q1)) + WINDOW
        t1, d1 = self._terms(q1, near)
        t2, d2 = self._terms(q2, near)
        width = q2 - q1
        with np.errstate(over="ignore", invalid="ignore"):
            peak = np.fmin(t1 * np.exp(d1 * width), t2 * np.exp(-d2 * width))
        largest = np.where(d1 <= 0, t1, np.where(d2 >= 0, t2, peak))
        least = np.minimum(t1, t2)
        gains = self.sign[near] > 0
        steepest = self.n / 2 * (largest[gains].sum() - least[~gains].sum())
        flattest = self.n / 2 * (least[gains].sum() - largest[~gains].sum())
        return min(p1 + max(0.0, steepest) * width, p2 + max(0.0, -flattest) * width)

    def _terms(self, q: float, near: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Return the terms at q and the derivatives of their logarithms."""
        a, b, rest = self.damaged[near], self.rescued[near], self.n - 1 - self.changed[near]
        up, down, same = q + self.max_loss, max(q - self.max_loss, 1e-300), max(1 - q, 1e-300)
        logarithm = self.constant[near] + a * np.log(up) + b * np.log(down) + rest * np.log(same)
        return np.exp(logarithm), a / up + b / down - rest / same


def _window(n: int, q: float) -> tuple[int, int]:
    """Return the first and last number of changed answers that matter at q."""
    half = WINDOW * np.sqrt(n * q * (1 - q)) + WINDOW
    return max(0, int(n * q - half)), min(n, int(n * q + half) + 1)


def _binomial(n: int, count: Ints, q: float) -> Floats:
    if q >= 1:
        return np.where(count == n, 1.0, 0.0)
    choose = gammaln(n + 1) - gammaln(count + 1) - gammaln(n - count + 1)
    return np.exp(choose + count * np.log(q) + (n - count) * np.log1p(-q))


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
