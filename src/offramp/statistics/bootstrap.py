"""Bootstrap intervals of means, for what has no exact one: mean costs, and differences between two policies.

Rows with equal values are one cell. Resampling n rows with replacement and counting cells is one multinomial draw, so
a resample costs as many random numbers as there are cells and not rows; the law of the means is the same. All measures
of a call come from the same resamples: they are paired, as are two policies whose values stand side by side in a cell.

Where rows were decided together, in clusters, they are not independent and clusters are resampled instead.
"""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, stdtrit

from offramp.statistics.intervals import LEVEL

SEED = 17  # one stated seed, and a new generator per call: an interval does not depend on what else was asked for
RESAMPLES = 2_000

DRAWS = 4_000_000  # counts of cells or clusters that are drawn at a time

Floats = NDArray[np.float64]


def resampled_means(values: Floats, counts: NDArray[np.integer], resamples: int = RESAMPLES) -> Floats:
    """Return the means (resamples, measures) of resampled rows.

    `values` (cells, measures) is what one row of a cell adds to each measure, `counts` (cells,) how many rows each
    cell holds; at least one row in all.
    """
    total = int(counts.sum())
    assert total > 0, "there must be a row to resample"
    held = counts > 0
    rng, share, at_once = np.random.default_rng(SEED), counts[held] / total, max(1, DRAWS // int(held.sum()))
    sizes = [min(at_once, resamples - start) for start in range(0, resamples, at_once)]
    return np.concatenate([rng.multinomial(total, share, size=size) @ values[held] / total for size in sizes])


def bootstrap_means(values: Floats, counts: NDArray[np.integer], level: float = LEVEL) -> Floats:
    """Return the percentile interval of each measure's mean, (measures, 2); arguments as in `resampled_means`.

    Approximate: its coverage reaches `level` as rows become many, and it has no width where all rows are alike.
    Reference: Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapter 13.
    """
    tail = (1 - level) / 2
    return np.asarray(np.quantile(resampled_means(values, counts), [tail, 1 - tail], axis=0).T)


def bootstrap_clusters(
    sums: Floats, rows: Floats, bounds: Sequence[tuple[float, float]], level: float = LEVEL
) -> Floats:
    """Return the interval of each measure's mean, (measures, 2), where rows of one cluster are dependent.

    `sums` and `rows` are (clusters, measures): what a cluster's rows add up to, and how many count in the measure; see
    `cluster_sums`. Clusters are drawn with replacement, whole, and a mean is a ratio of sums. The percentile interval,
    widened as the t interval is for few clusters; still approximate, and too narrow with few. A measure with rows in
    fewer than two clusters has its `bounds`: one cluster does not show how clusters differ.

    Reference: Davison & Hinkley (1997), Bootstrap Methods and their Application, section 3.8 (clusters); Hesterberg
    (2015), The American Statistician 69(4), on the expanded percentile interval.
    """
    means = []
    for draws in _draws(len(rows)):
        with np.errstate(invalid="ignore", divide="ignore"):  # a resample without such rows has no mean
            means.append((draws @ sums) / (draws @ rows))
    drawn = np.concatenate(means)
    found = []
    for j, bound in enumerate(bounds):
        in_clusters = int(np.count_nonzero(rows[:, j]))
        tail = _tail(in_clusters, level)
        column = drawn[:, j][np.isfinite(drawn[:, j])]
        found.append(bound if in_clusters < 2 else np.quantile(column, [tail, 1 - tail]))
    return np.asarray(found, np.float64)


def cluster_sums(values: Floats, cluster: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Return what rows (rows, measures) add up to in each cluster, and their number, both (clusters, measures).

    `cluster` (rows,) is any number per cluster; every row counts in every measure.
    """
    _, number = np.unique(cluster, return_inverse=True)
    sums = np.stack([np.bincount(number, column).astype(np.float64) for column in values.T], axis=1)
    return sums, np.repeat(np.bincount(number)[:, None].astype(np.float64), values.shape[1], axis=1)


def _draws(n_clusters: int) -> Iterator[Floats]:
    """Yield how often each cluster is drawn, (resamples, clusters), some resamples at a time."""
    at_once = max(1, DRAWS // n_clusters)
    if at_once >= RESAMPLES:
        yield _few_draws(n_clusters)
        return
    rng = np.random.default_rng(SEED)
    for start in range(0, RESAMPLES, at_once):
        yield _multinomial(rng, n_clusters, min(at_once, RESAMPLES - start))


@lru_cache(maxsize=4)  # every measure and policy of an evaluation has the same ones
def _few_draws(n_clusters: int) -> Floats:
    return _multinomial(np.random.default_rng(SEED), n_clusters, RESAMPLES)


def _multinomial(rng: np.random.Generator, n_clusters: int, size: int) -> Floats:
    return rng.multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), size=size).astype(np.float64)


def _tail(n: int, level: float) -> float:
    """Return the share cut off on either side, so that a normal quantile there is n clusters' t quantile."""
    if n < 2:
        return 0.0
    return float(ndtr(math.sqrt(n / (n - 1)) * stdtrit(n - 1, (1 - level) / 2)))


RANK_RESAMPLES = 1_000
DRAWN = 2_000_000  # counts that are in memory at once


def spearman(x: ArrayLike, y: ArrayLike, cluster: NDArray[np.intp] | None = None) -> dict[str, float]:
    """Return `spearman`, `spearman_low` and `spearman_high`; empty where a side has one value only.

    `x` and `y` are (samples,); tied values share their mean rank. The interval is the percentile interval of a
    bootstrap of samples, or of whole clusters where `cluster` (samples,) numbers those that were decided together.
    Resamples in which a side has one value only are left out; without any other the interval is all of [-1, 1].

    Reference: Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapter 13.
    """
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if cluster is None:  # equal pairs are one cell, and resampling draws how often each occurs
        cells, counts = np.unique(np.stack([a, b]), axis=1, return_counts=True)
        a, b = cells
        cell = np.arange(len(counts))
    else:
        _, cell = np.unique(cluster, return_inverse=True)
        counts = np.ones(int(cell.max()) + 1, np.intp)
    value = float(_weighted(a, b, counts[cell][None].astype(np.float64))[0])
    if not np.isfinite(value):
        return {}
    rng = np.random.default_rng(SEED)
    at_once = max(1, DRAWN // len(a))
    found = []
    for start in range(0, RANK_RESAMPLES, at_once):
        size = min(at_once, RANK_RESAMPLES - start)
        drawn = rng.multinomial(int(counts.sum()), counts / counts.sum(), size=size)
        found.append(_weighted(a, b, drawn[:, cell].astype(np.float64)))
    values = np.concatenate(found)
    values = values[np.isfinite(values)]
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values, [tail, 1 - tail]) if len(values) else (-1.0, 1.0)
    return {"spearman": value, "spearman_low": float(low), "spearman_high": float(high)}


def _weighted(a: Floats, b: Floats, weights: Floats) -> Floats:
    """Return the correlation of ranks (resamples,), where `weights` (resamples, cells) says how often a cell occurs."""
    first, second = _mean_ranks(a, weights), _mean_ranks(b, weights)
    middle = (weights.sum(axis=1, keepdims=True) + 1) / 2  # the mean of all ranks, ties or not
    first, second = first - middle, second - middle
    together = (weights * first * second).sum(axis=1)
    alone = (weights * first**2).sum(axis=1) * (weights * second**2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 where all ranks are equal
        return np.asarray(together / np.sqrt(alone))


def _mean_ranks(values: Floats, weights: Floats) -> Floats:
    """Return the rank of each cell's value (resamples, cells) when cells stand `weights` times in a row."""
    _, number = np.unique(values, return_inverse=True)
    order = np.argsort(number, kind="stable")
    ends = np.cumsum(np.bincount(number)) - 1
    until = weights[:, order].cumsum(axis=1)[:, ends]
    before = np.concatenate([np.zeros((len(weights), 1)), until[:, :-1]], axis=1)
    return np.asarray(((before + until + 1) / 2)[:, number])
