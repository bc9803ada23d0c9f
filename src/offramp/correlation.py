"""Spearman's rank correlation with a bootstrap interval, fast for values with many ties such as numbers of exits."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offramp.intervals import LEVEL

SEED = 17
RESAMPLES = 1_000
DRAWN = 2_000_000  # counts that are in memory at once
Floats = NDArray[np.float64]


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
    for start in range(0, RESAMPLES, at_once):
        size = min(at_once, RESAMPLES - start)
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
