"""P-values by plain summation, to hold those of a certificate against.

Nothing is bounded or shortened here: probabilities are summed over the tables, and what is unknown is tried on a grid.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binom

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
NODES = 401  # values of P(an answer changes) that are tried in its confidence interval
PIECE = 25  # of them at a time, so that the counts that matter stay few
ZOOMS = 2  # finer looks around the best nodes
SPREAD = 9.0  # standard deviations of the number of changed answers that are summed; the rest is below 1e-15
BELOW, ABOVE = 1e-6, 2.5e-4  # how far a stated paired p-value may lie from the grid's: it may be a bound, never less


def binomial_p_value(correct: int, total: int, target: float) -> float:
    """Return P(at least `correct` right answers of `total`) at an accuracy of `target`; 1.0 for no rows."""
    return 1.0 if total == 0 else float(binom.sf(correct - 1, total, target))


@lru_cache(maxsize=100_000)
def paired_p_value(n: int, damaged: int, rescued: int, loss: float, order: str, gamma: float) -> float:
    """Return the p-value of E[D] >= loss, D = +1 for a damaged answer, −1 for a rescued one, on n rows.

    The largest probability of tables at least as extreme as the one seen, over the Clopper–Pearson interval of level
    1 − gamma for q = P(D ≠ 0), plus gamma (Berger & Boos 1994). `order` says which tables are as extreme: `score` or
    `difference`. A negative loss turns the question round: swapped counts test E[D] <= loss.
    """
    if n == 0:
        return 1.0
    changed = damaged + rescued
    low = 0.0 if changed == 0 else float(beta.ppf(gamma / 2, changed, n - changed + 1))
    high = 1.0 if changed == n else float(beta.ppf(1 - gamma / 2, changed + 1, n - changed))
    if high < loss:
        return gamma  # the hypothesis needs more changed answers than there can be
    low = max(low, loss, 1e-12)
    first, last = around(n, low)[0], around(n, high)[1]
    most = extreme_damage(n, damaged, rescued, loss, order, first, last)
    return min(1.0, _largest(n, first, most, loss, low, high) + gamma)


def around(n: int, q: float) -> tuple[int, int]:
    """Return the least and the largest number of changed answers that can matter at q."""
    reach = SPREAD * np.sqrt(n * q * (1 - q)) + SPREAD
    return max(0, int(n * q - reach) - 1), min(n, int(n * q + reach) + 2)


def extreme_damage(n: int, damaged: int, rescued: int, loss: float, order: str, first: int, last: int) -> Ints:
    """Return for first … last changed answers the most damage that is as extreme as the table seen; −1: none is.

    With a table, one less damaged and one more rescued count as extreme too: so the most damage of a count is at least
    that of the count before, and at least that of the count after less 1.
    """
    changed = np.arange(first, last + 1)
    if order == "difference":
        most = np.clip((damaged - rescued + changed) // 2, -1, changed)
    else:
        seen = float(score(np.array([damaged]), np.array([damaged + rescued]), n, loss)[0])
        seen += 1e-10 * max(1.0, abs(seen))  # the table itself is as extreme as itself, whatever the rounding
        most = np.full(len(changed), -1)
        stride = 1 << int(last).bit_length()
        while stride:  # the score rises with the damage: longer strides first, then shorter ones
            further = most + stride
            allowed = further <= changed
            allowed[allowed] = score(further[allowed], changed[allowed], n, loss) <= seen
            most = np.where(allowed, further, most)
            stride //= 2
    most = np.maximum.accumulate(most)
    return np.maximum.accumulate((most - changed)[::-1])[::-1] + changed


def score(damaged: Ints, changed: Ints, n: int, loss: float) -> Floats:
    """Return (damaged − rescued − n·loss) / √(n (q − loss²)), q the likeliest P(D ≠ 0) if E[D] were `loss`.

    q solves n q² − (changed + loss·difference) q + loss·difference − (n − changed) loss² = 0 (Tango 1998).
    """
    difference = 2.0 * damaged - changed
    half = (changed + loss * difference) / (2 * n)
    rest = (loss * difference - (n - changed) * loss**2) / n
    q = half + np.sqrt(np.maximum(half**2 - rest, 0))
    deviation = difference - n * loss
    spread = np.sqrt(np.maximum(n * (q - loss**2), 0))
    none = np.where(deviation > 0, np.inf, np.where(deviation < 0, -np.inf, 0.0))
    return np.divide(deviation, spread, out=none, where=spread > 0)


def _largest(n: int, first: int, most: Ints, loss: float, low: float, high: float) -> float:
    """Return the largest probability on the grid, and on finer ones around its three best nodes."""
    nodes = np.linspace(low, high, NODES)
    values = _probabilities(n, first, most, loss, nodes)
    best = float(values.max())
    for centre in nodes[np.argsort(values)[-3:]]:
        around_it, width = float(centre), (high - low) / (NODES - 1)
        for _ in range(ZOOMS):
            finer = np.linspace(max(low, around_it - width), min(high, around_it + width), 11)
            found = _probabilities(n, first, most, loss, finer)
            around_it, width = float(finer[found.argmax()]), width / 5
            best = max(best, float(found.max()))
    return best


def _probabilities(n: int, first: int, most: Ints, loss: float, nodes: Floats) -> Floats:
    """Return the probability of the extreme tables at each q of `nodes` if E[D] = loss.

    Changed answers are Bin(n, q); each of them is damage with probability (q + loss) / 2q.
    """
    found = np.empty(len(nodes))
    for start in range(0, len(nodes), PIECE):
        q = nodes[start : start + PIECE, None]
        changed = np.arange(max(first, around(n, q[0, 0])[0]), around(n, q[-1, 0])[1] + 1)
        changed = changed[changed < first + len(most)]
        at_most = most[changed - first]
        damage = np.clip((q + loss) / (2 * q), 0, 1)
        inside = np.where(at_most >= 0, binom.cdf(at_most, changed, damage), 0.0)
        found[start : start + PIECE] = (binom.pmf(changed, n, q) * inside).sum(axis=1)
    return found
