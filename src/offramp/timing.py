"""Measuring time: repeats side by side, medians with their spread, never a mean of ratios."""

import time
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

LOW, HIGH = 10, 90  # percentiles that stand beside a median


def interleaved(
    runs: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 1
) -> dict[str, NDArray[np.float64]]:
    """Return the seconds (repeats,) of every run; all take turns, so that whatever slows the machine slows them all."""
    for _ in range(warm_up):
        for run in runs.values():
            run()
    seconds = {name: np.empty(repeats) for name in runs}
    for repeat in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter_ns()
            run()
            seconds[name][repeat] = (time.perf_counter_ns() - start) / 1e9
    return seconds


def spread(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the median and the 10th and 90th percentile."""
    low, median, high = np.percentile(values, [LOW, 50, HIGH])
    return float(median), float(low), float(high)
