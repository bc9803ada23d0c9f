"""Timing policies side by side on the same images, batch after batch, as they would run.

In every repeat all contestants run every turn of images before anybody goes on to the next, so that whatever slows
the machine slows them all; their order is drawn anew for every turn. A turn is several batches where these are small:
who runs one image and then waits for the others finds the processor's caches full of their weights, which nobody who
is deployed alone does.
"""

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from offramp.runtime.live import Answers, Images, StepTime

TURN = 64  # images of a turn, or one batch where that is more
WARM_UP = 5  # turns of everybody before the first repeat
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """What one contestant did and how long that took, per repeat.

    A step's time is shared equally by the samples in it; what a call takes outside its steps counts to the first one,
    in which all samples are. `step_seconds` adds up the steps that end at an exit, `exit_seconds` the shares of the
    samples that left there: both sum to `seconds`.
    """

    batch_size: int
    label: NDArray[np.int64]  # (repeats, samples)
    exit: NDArray[np.intp]  # (repeats, samples), from 0
    call_seconds: Floats  # (repeats, batches)
    step_seconds: Floats  # (repeats, exits)
    exit_seconds: Floats  # (repeats, exits)
    visited: NDArray[np.bool_] | None = None  # (repeats, samples, exits): whose heads ran; None: the thresholds say it

    @property
    def samples(self) -> int:
        return self.exit.shape[1]

    @property
    def seconds(self) -> Floats:
        """Return the seconds (repeats,) that all images took."""
        return self.call_seconds.sum(axis=1)

    @property
    def median(self) -> int:
        """Return the repeat whose seconds are the median, the faster one of two."""
        return int(np.argsort(self.seconds, kind="stable")[(len(self.seconds) - 1) // 2])


def time_policies(
    contestants: Mapping[str, Callable[..., Answers]],
    images: Images,
    batch_size: int,
    repeats: int,
    n_exits: int,
    keys: NDArray[np.int64] | None = None,
) -> dict[str, Measured]:
    """Run all contestants on uint8 images (samples, height, width, channels), interleaved, after a warm-up.

    `keys` are the images' ids (samples,), for contestants that ask for `keys`; all get them, or none. The garbage
    collector waits until it is over.
    """
    logs = {name: _Log(batch_size, repeats, n_exits) for name in contestants}
    names = list(contestants)
    turns = _turns(images, batch_size, keys)
    for turn in turns[:WARM_UP]:
        for name in names:
            _take_turn(contestants[name], turn)
    with (
        tqdm(
            total=repeats * len(turns), desc=f"batch {batch_size}", unit="turn", disable=None, leave=False
        ) as progress,
        _no_garbage_collection(),
    ):
        order = np.random.default_rng(0)
        for repeat in range(repeats):
            for turn in turns:
                for place in order.permutation(len(names)):
                    logs[names[place]].add(repeat, _take_turn(contestants[names[place]], turn))
                progress.update()
    return {name: log.measured() for name, log in logs.items()}


Arguments = tuple[Any, ...]  # images and, where there are any, their keys
Call = tuple[int, Answers]  # nanoseconds of one batch, and what it answered


def _take_turn(run: Callable[..., Answers], batches: Sequence[Arguments]) -> list[Call]:
    calls = []
    for batch in batches:
        start = time.perf_counter_ns()
        answers = run(*batch)
        calls.append((time.perf_counter_ns() - start, answers))
    return calls


def _turns(images: Images, batch_size: int, keys: NDArray[np.int64] | None) -> list[list[Arguments]]:
    columns = (images,) if keys is None else (images, keys)
    starts = range(0, len(images), batch_size)
    batches = [tuple(column[start : start + batch_size] for column in columns) for start in starts]
    in_turn = max(1, TURN // batch_size)
    return [batches[start : start + in_turn] for start in range(0, len(batches), in_turn)]


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Log:
    """Collects one contestant's calls, between the turns, while no clock runs."""

    def __init__(self, batch_size: int, repeats: int, n_exits: int) -> None:
        self._batch_size = batch_size
        self._calls: list[list[Call]] = [[] for _ in range(repeats)]
        self._step_ns = np.zeros((repeats, n_exits))
        self._exit_ns = np.zeros((repeats, n_exits))

    def add(self, repeat: int, calls: list[Call]) -> None:
        for nanoseconds, answers in calls:
            self._calls[repeat].append((nanoseconds, answers._replace(steps=[])))
            passed = 0.0  # nanoseconds that each sample still there has used
            steps = _complete(answers.steps, nanoseconds)
            for step, stay in zip(steps, [*(step.samples for step in steps[1:]), 0], strict=True):
                passed += step.nanoseconds / step.samples
                self._step_ns[repeat, step.exit] += step.nanoseconds
                self._exit_ns[repeat, step.exit] += passed * (step.samples - stay)

    def measured(self) -> Measured:
        return Measured(
            self._batch_size,
            np.stack([np.concatenate([answers.label for _, answers in calls]) for calls in self._calls]),
            np.stack([np.concatenate([answers.exit for _, answers in calls]) for calls in self._calls]),
            np.array([[nanoseconds for nanoseconds, _ in calls] for calls in self._calls]) / 1e9,
            self._step_ns / 1e9,
            self._exit_ns / 1e9,
            self._visited(),
        )

    def _visited(self) -> NDArray[np.bool_] | None:
        parts = [[answers.visited for _, answers in calls if answers.visited is not None] for calls in self._calls]
        return np.stack([np.concatenate(part) for part in parts]) if all(parts) else None


def _complete(steps: list[StepTime], nanoseconds: int) -> list[StepTime]:
    """Return steps that add up to the whole call: the rest counts to the first one."""
    rest = nanoseconds - sum(step.nanoseconds for step in steps)
    return [steps[0]._replace(nanoseconds=steps[0].nanoseconds + rest), *steps[1:]]
