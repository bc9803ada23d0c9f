"""Writing a logit cache: streaming for the logits stage, at once for a network of your own."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from offramp.cache.reading import READ_ROWS, SCHEMA_VERSION, UNKNOWN
from offramp.project.errors import InputError
from offramp.project.files import replacing


class CacheWriter:
    """Writes a cache row group by row group; the file appears at `path` when `with` ends without an error."""

    def __init__(self, path: Path, n_exits: int, n_classes: int, dtype: str, metadata: dict[str, Any]) -> None:
        element = {"float16": pa.float16(), "float32": pa.float32(), "float64": pa.float64()}[dtype]
        self._dtype = np.dtype(dtype)
        self._list = pa.list_(pa.field("element", element, nullable=False), n_classes)
        self._exits = [f"exit_{number}" for number in range(1, n_exits + 1)]
        columns = [("sample", pa.int64()), ("label", pa.int64()), *((name, self._list) for name in self._exits)]
        about = {"schema_version": SCHEMA_VERSION, **metadata}
        self._schema = pa.schema(columns, {"offramp": json.dumps(about, ensure_ascii=False)})
        self._path = path
        self._open = ExitStack()

    def __enter__(self) -> "CacheWriter":
        temporary = self._open.enter_context(replacing(self._path))
        self._writer = self._open.enter_context(pq.ParquetWriter(temporary, self._schema))
        return self

    def write(self, sample: NDArray[np.int64], label: NDArray[np.int64], logits: NDArray[np.floating]) -> None:
        """Append one row group: sample ids (n,), labels (n,) with UNKNOWN for null, logits (n, exits, classes)."""
        columns = [pa.array(sample, pa.int64()), pa.array(label, pa.int64(), mask=label == UNKNOWN)]
        for k in range(len(self._exits)):
            values = pa.array(np.ascontiguousarray(logits[:, k], self._dtype).reshape(-1))
            columns.append(pa.FixedSizeListArray.from_arrays(values, type=self._list))
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)


def write_logits(
    path: str | Path,
    logits: ArrayLike,
    labels: Sequence[int | None] | NDArray[np.integer],
    classes: Sequence[str] | None = None,
    samples: Sequence[int] | NDArray[np.integer] | None = None,
) -> None:
    """Write a logit cache from a network of your own: the bring-your-own-logits path.

    `logits` is (samples, exits, classes), the final classifier last; `labels` is (samples,), None where unknown;
    `classes` names the classes; `samples` are ids (samples,), unique whole numbers that fit int64, by default the rows'
    numbers from 0. Raises InputError (a ValueError) for shapes that do not fit, values that are not finite in float32,
    labels outside 0 … classes − 1 and ids that are no such numbers; then nothing is written.
    """
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is refused below
        values = np.asarray(logits, dtype=np.float32)
    if values.ndim != 3 or 0 in values.shape or values.shape[2] < 2:
        raise InputError(f"logits must be (samples, exits, classes), at least (1, 1, 2); got shape {values.shape}")
    n_samples, n_exits, n_classes = values.shape
    known = _labels(labels, n_samples, n_classes)
    ids = _ids(samples, n_samples)
    if not np.isfinite(values).all():
        row, k, _ = np.argwhere(~np.isfinite(values))[0]
        raise InputError(f"logits must be finite in float32; those of sample {ids[row]} at exit_{k + 1} are not")
    if classes is not None and len(classes) != n_classes:
        raise InputError(f"classes must hold {n_classes} names, one per logit; got {len(classes)}")
    metadata = {} if classes is None else {"classes": [str(name) for name in classes]}
    with CacheWriter(Path(path), n_exits, n_classes, "float32", metadata) as writer:
        for start in range(0, n_samples, READ_ROWS):
            rows = slice(start, start + READ_ROWS)
            writer.write(ids[rows], known[rows], values[rows])


def _labels(labels: Sequence[int | None] | NDArray[np.integer], n_samples: int, n_classes: int) -> NDArray[np.int64]:
    """Return labels (samples,), UNKNOWN for None. Raises InputError where they are no such numbers."""
    known = np.array([UNKNOWN if label is None else label for label in labels])
    if known.shape != (n_samples,) or known.dtype.kind not in "iu":
        raise InputError(
            f"labels must be {n_samples} whole numbers or None, one per sample; "
            f"got {known.dtype} of shape {known.shape}"
        )
    given = np.array([label is not None for label in labels])
    wrong = np.flatnonzero(given & ((known < 0) | (known >= n_classes)))
    if len(wrong):
        raise InputError(f"labels must be from 0 to {n_classes - 1} or None; labels[{wrong[0]}] is {known[wrong[0]]}")
    return known.astype(np.int64)


def _ids(samples: Sequence[int] | NDArray[np.integer] | None, n_samples: int) -> NDArray[np.int64]:
    """Return ids (samples,). Raises InputError where they are no unique int64 numbers."""
    if samples is None:
        return np.arange(n_samples, dtype=np.int64)
    ids = np.array(samples)
    if ids.shape != (n_samples,) or ids.dtype.kind not in "iu" or ids.max() > np.iinfo(np.int64).max:
        raise InputError(
            f"samples must be {n_samples} whole numbers that fit int64, one per row; "
            f"got {ids.dtype} of shape {ids.shape}"
        )
    numbers, counts = np.unique(ids, return_counts=True)
    if len(numbers) < n_samples:
        twice = numbers[counts > 1][0]
        raise InputError(f"samples must be unique; {twice} stands there {counts[numbers == twice][0]} times")
    return ids.astype(np.int64)
