"""Image files in a temporary file, written in one order and read in another.

A permutation of more images than memory holds needs a place where each can be picked up: here they lie one after the
other in a file without a name, which is gone with the process that made it. Memory holds where each row starts, 12
bytes a row.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np

from offramp.data.pictures import Encoded, Size
from offramp.data.prepared import ROW_GROUP, EncodedBatch
from offramp.data.sources.pools import Labels, RowNumbers

LARGEST_BATCH = 2**26  # bytes of images that are in memory at once


class Spool:
    """Rows of a pool, added in their order; a row may be dropped. A context manager: the file is gone at its end."""

    def __init__(self, folder: Path, n_rows: int) -> None:
        """Open the file in `folder`, which must have room for the images."""
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder, prefix=".", suffix=".tmp")  # noqa: SIM115 (closed by __exit__)
        self._ends = np.zeros(n_rows + 1, np.int64)  # of row i at i + 1
        self._path_sizes = np.zeros(n_rows, np.uint32)
        self._n = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, encoded: Encoded, path: str | None) -> None:
        """Append the next row."""
        name = b"" if path is None else path.encode("utf-8", "replace")
        self._file.write(name)
        self._file.write(encoded.content)
        self._path_sizes[self._n] = len(name)
        self._end_row(len(name) + len(encoded.content))

    def drop(self) -> None:
        """Leave the next row empty."""
        self._end_row(0)

    def kept(self, rows: RowNumbers) -> RowNumbers:
        """Return those of `rows` that were not dropped, in their order."""
        return rows[self._ends[rows + 1] > self._ends[rows]]

    def batches(self, rows: RowNumbers, labels: Labels, channels: int, size: Size) -> Iterator[EncodedBatch]:
        """Yield `rows` (n,) with their labels (n,) in this order, as many at once as may be in memory."""
        shape = (channels, size.height, size.width)
        first, contents, paths, held = 0, [], [], 0
        for position, row in enumerate(rows):
            path, content = self._read(int(row))
            contents.append(content)
            paths.append(path)
            held += len(content)
            if len(contents) == ROW_GROUP or held >= LARGEST_BATCH:
                yield EncodedBatch(contents, paths, labels[first : position + 1], shape)
                first, contents, paths, held = position + 1, [], [], 0
        if contents:
            yield EncodedBatch(contents, paths, labels[first:], shape)

    def _read(self, row: int) -> tuple[str | None, bytes]:
        start, end, path_size = int(self._ends[row]), int(self._ends[row + 1]), int(self._path_sizes[row])
        self._file.seek(start, os.SEEK_SET)
        name = self._file.read(path_size).decode("utf-8") if path_size else None
        return name, self._file.read(end - start - path_size)

    def _end_row(self, size: int) -> None:
        self._ends[self._n + 1] = self._ends[self._n] + size
        self._n += 1
