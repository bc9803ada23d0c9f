"""Measuring time: repeats side by side, medians with their spread, never a mean of ratios."""

import time
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

LOW, HIGH = 10, 90  # percentiles that stand beside a median


def interleaved(
    runs: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 1, in_turn: int = 1
) -> dict[str, NDArray[np.float64]]:
    """Return the seconds (repeats,) that one call of every run takes.

    All take turns, in an order that is drawn anew for every repeat, so that whatever slows the machine slows them all
    and nobody always follows the same one. A turn is `in_turn` calls, and their mean counts:
    who is called once in a turn finds the processor's caches full of the others' weights, which nobody who is deployed
    alone does.
    """
    for _ in range(warm_up):
        for run in runs.values():
            run()
    seconds = {name: np.empty(repeats) for name in runs}
    names, order = list(runs), np.random.default_rng(0)
    for repeat in range(repeats):
        for place in order.permutation(len(names)):
            name = names[place]
            run = runs[name]
            start = time.perf_counter_ns()
            for _ in range(in_turn):
                run()
            seconds[name][repeat] = (time.perf_counter_ns() - start) / 1e9 / in_turn
    return seconds


def spread(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the median and the 10th and 90th percentile."""
    low, median, high = np.percentile(values, [LOW, 50, HIGH])
    return float(median), float(low), float(high)
