"""Bootstrap intervals of means, for what has no exact one: mean costs, and differences between two policies.

Rows with equal values are one cell. Resampling n rows with replacement and counting cells is one multinomial draw, so
a resample costs as many random numbers as there are cells and not rows; the law of the means is the same. All measures
of a call come from the same resamples: they are paired, as are two policies whose values stand side by side in a cell.
"""

import numpy as np
from numpy.typing import NDArray

from offramp.intervals import LEVEL

SEED = 17  # one stated seed, and a new generator per call: an interval does not depend on what else was asked for
RESAMPLES = 2_000

Floats = NDArray[np.float64]


def resampled_means(values: Floats, counts: NDArray[np.integer], resamples: int = RESAMPLES) -> Floats:
    """Return the means (resamples, measures) of resampled rows.

    `values` (cells, measures) is what one row of a cell adds to each measure, `counts` (cells,) how many rows each
    cell holds; at least one row in all.
    """
    total = int(counts.sum())
    assert total > 0, "there must be a row to resample"
    held = counts > 0
    draws = np.random.default_rng(SEED).multinomial(total, counts[held] / total, size=resamples)
    return np.asarray(draws @ values[held] / total)


def bootstrap_means(values: Floats, counts: NDArray[np.integer], level: float = LEVEL) -> Floats:
    """Return the percentile interval of each measure's mean, (measures, 2); arguments as in `resampled_means`.

    Approximate: its coverage reaches `level` as rows become many, and it has no width where all rows are alike.
    Reference: Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapter 13.
    """
    tail = (1 - level) / 2
    return np.asarray(np.quantile(resampled_means(values, counts), [tail, 1 - tail], axis=0).T)
