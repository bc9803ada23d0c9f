"""Filling the logit cache: one pass over a split, decoding and writing beside the forward pass.

The network's threads do all arithmetic; one thread ahead of them decodes images, one behind them writes row groups,
both at lower priority, so that they use what the forward pass leaves free. No more than two row groups are in memory.
"""

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from offramp.cache.writing import CacheWriter
from offramp.data.prepared import Images, Split, read_batches

ROW_GROUP = 2048  # rows of a cache written at once
READ_AHEAD = 16  # decoded batches that may wait
Item = TypeVar("Item")
DecodedBatch = tuple[NDArray[np.int64], Images, NDArray[np.int64]]  # sample ids, images, labels


@dataclass
class Seconds:
    """Where the time of a pass went. The parts overlap: `whole` is the wall clock, not their sum."""

    decode: float = 0.0
    forward: float = 0.0
    write: float = 0.0
    whole: float = 0.0


def fill_cache(
    exit_logits: Callable[[Images], NDArray[np.float32]],
    n_exits: int,
    split: Split,
    path: Path,
    batch_size: int,
    dtype: str,
    metadata: dict[str, Any],
) -> Seconds:
    """Run every image of a split through the network once and write all exits' logits; return where the time went.

    `exit_logits` is an engine's: from uint8 images to logits (samples, exits, classes). Raises what reading raises
    (InputError for an image that cannot be decoded); then nothing is written.
    """
    seconds = Seconds()
    start = time.perf_counter()
    with (
        CacheWriter(path, n_exits, len(split.classes), dtype, metadata) as writer,
        ThreadPoolExecutor(1, initializer=_yield_to_forward_pass) as ahead,
        ThreadPoolExecutor(1, initializer=_yield_to_forward_pass) as behind,
        tqdm(total=split.rows, desc=f"logits {path.stem}", unit="image", disable=None, leave=False) as progress,
    ):
        group = _RowGroup(writer, behind, seconds)
        for sample, images, label in _ahead(_decoded(split, batch_size, seconds), READ_AHEAD, ahead):
            forward_start = time.perf_counter()
            logits = exit_logits(images)
            seconds.forward += time.perf_counter() - forward_start
            group.add(sample, label, logits)
            progress.update(len(sample))
        group.finish()
    seconds.whole = time.perf_counter() - start
    return seconds


class _RowGroup:
    """Collects batches and writes them in the background, one row group at a time, the last one unfinished."""

    def __init__(self, writer: CacheWriter, background: ThreadPoolExecutor, seconds: Seconds) -> None:
        self._writer, self._background, self._seconds = writer, background, seconds
        self._parts: list[tuple[NDArray[Any], ...]] = []
        self._writing: Future[None] | None = None

    def add(self, *part: NDArray[Any]) -> None:
        self._parts.append(part)
        if sum(len(sample) for sample, *_ in self._parts) >= ROW_GROUP:
            self._flush()

    def finish(self) -> None:
        if self._parts:
            self._flush()
        if self._writing is not None:
            self._writing.result()

    def _flush(self) -> None:
        if self._writing is not None:
            self._writing.result()  # raises what the write raised; holds no more than two groups
        self._writing = self._background.submit(self._write, self._parts)
        self._parts = []

    def _write(self, parts: list[tuple[NDArray[Any], ...]]) -> None:
        start = time.perf_counter()
        sample, label, logits = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        self._writer.write(sample, label, logits)
        self._seconds.write += time.perf_counter() - start


def _decoded(split: Split, batch_size: int, seconds: Seconds) -> Iterator[DecodedBatch]:
    batches = read_batches(split, batch_size)
    while True:
        start = time.perf_counter()
        batch = next(batches, None)
        seconds.decode += time.perf_counter() - start
        if batch is None:
            return
        yield batch


def _ahead(items: Iterator[Item], depth: int, background: ThreadPoolExecutor) -> Iterator[Item]:
    """Yield `items`, fetched by the thread of `background`, at most `depth` ahead. What they raise is raised here."""
    waiting = deque(background.submit(next, items, None) for _ in range(depth))
    while (item := waiting.popleft().result()) is not None:
        waiting.append(background.submit(next, items, None))
        yield item


def _yield_to_forward_pass() -> None:
    """Lower the calling thread's priority (Linux, where priorities belong to threads; elsewhere nothing is done)."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
