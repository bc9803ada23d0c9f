"""The exact size of the shipped test, without Monte Carlo: results/test_size/result.json.

Command: `python -m experiments.certificates.size`. For every n, max_loss and delta, the rejection region is read off
the shipped p-value: for each number of changed answers the most damage that is still rejected. Its probability where
the loss is exactly max_loss is a sum of trinomial probabilities, taken at 300 discordances q = P(D ≠ 0); more loss only
makes it smaller, as then more of the changed answers are damaged ones. Valid: at most delta at every q.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from experiments.certificates.harness import about, read_options, run_all, save
from offramp.statistics.exact_tests import GAMMA, p_value

LARGEST_Q = {200: 1.0, 1000: 0.2, 5000: 0.1}  # per n; a policy worth certifying changes fewer answers
LOSSES = (0.005, 0.01, 0.02)
DELTAS = (0.05, 0.1)
ORDERS = ("score", "difference")
GRID = 300
SHARPNESS = 0.6  # of delta: what the largest size must reach from 1,000 rows on
BEYOND = 6.0  # standard deviations of the number of changed answers; what lies beyond (1e-9) counts as rejected


@dataclass(frozen=True)
class Cell:
    order: str
    n: int
    max_loss: float
    delta: float


def main() -> None:
    start = time.perf_counter()
    options = read_options("experiments.certificates.size", __doc__.splitlines()[0], runs=GRID, about_population=False)
    cells = [Cell(*values) for values in product(ORDERS, sorted(LARGEST_Q, reverse=True), LOSSES, DELTAS)]
    rows = run_all(measure, cells, options.workers, "size", chunk=1)
    passed = {"discordances": GRID, "passed": all(row["passed"] for row in rows)}
    save("test_size", options, about(options, start, **passed, cells=rows))


def measure(cell: Cell) -> dict[str, Any]:
    """Return one cell's sizes over q: valid where the largest is at most delta."""
    discordances = np.geomspace(cell.max_loss, LARGEST_Q[cell.n], GRID)
    most = rejection_region(cell, _last_changed(cell.n, LARGEST_Q[cell.n]))
    sizes = np.array([size(most, cell.n, q, cell.max_loss) for q in discordances])
    sharp = cell.n < 1000 or sizes.max() >= SHARPNESS * cell.delta
    return {
        "order": cell.order,
        "n": cell.n,
        "max_loss": cell.max_loss,
        "delta": cell.delta,
        "q": [cell.max_loss, LARGEST_Q[cell.n]],
        "size": {
            "min": round(float(sizes.min()), 5),
            "mean": round(float(sizes.mean()), 5),
            "max": round(float(sizes.max()), 5),
        },
        "q_at_max": round(float(discordances[sizes.argmax()]), 5),
        "passed": bool(sizes.max() <= cell.delta and sharp),
    }


def rejection_region(cell: Cell, last: int, test: Callable[..., float] = p_value) -> NDArray[np.int64]:
    """Return, per number of changed answers 0 … last, the most damage with a p-value of at most delta; −1: none.

    `test` is called like `paired.p_value`.
    """
    gamma = min(GAMMA[cell.order], cell.delta / 100)

    def rejects(damaged: int, changed: int) -> bool:
        return test(cell.n, damaged, changed - damaged, cell.max_loss, cell.order, gamma) <= cell.delta

    most, damaged = [], -1  # the answer moves little from one count to the next
    for changed in range(last + 1):
        while damaged < changed and rejects(damaged + 1, changed):
            damaged += 1
        while damaged >= 0 and not rejects(damaged, changed):
            damaged -= 1
        most.append(damaged)
    return np.array(most)


def size(most: NDArray[np.int64], n: int, q: float, max_loss: float) -> float:
    """Return the probability of rejecting where P(D ≠ 0) = q and E[D] = max_loss."""
    changed = np.arange(len(most))
    inside = binom.cdf(most, changed, (q + max_loss) / (2 * q))
    return float(binom.pmf(changed, n, q) @ inside + binom.sf(len(most) - 1, n, q))


def _last_changed(n: int, q: float) -> int:
    return min(n, int(n * q + BEYOND * np.sqrt(n * q * (1 - q))) + 1)


if __name__ == "__main__":
    main()
