"""Reading a logit cache: everything is checked, and what is wrong is named by file, column and row."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from numpy.typing import NDArray

from offramp.project.errors import InputError

SCHEMA_VERSION = 1
UNKNOWN = -1  # the label of a sample whose label is null in the file
READ_ROWS = 8192
_EXIT = re.compile(r"exit_([1-9]\d*)")


@dataclass(frozen=True)
class Rows:
    """Some rows of a cache: sample ids (n,), labels (n,) with UNKNOWN for null, logits (n, exits, classes)."""

    sample: NDArray[np.int64]
    label: NDArray[np.int64]
    logits: NDArray[np.floating]


@dataclass(frozen=True)
class LogitCache:
    """An opened cache whose columns, types and metadata were checked; rows are checked as they are read."""

    path: Path
    files: list[Path]
    n_rows: int
    exits: list[str]
    n_classes: int
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def class_names(self) -> list[str]:
        """Return the classes' names: those in the metadata, else their numbers."""
        return self.metadata.get("classes") or [str(number) for number in range(self.n_classes)]

    def read(self) -> Iterator[Rows]:
        """Yield all rows, some thousands at a time.

        Raises InputError that names file, column and row for a null or unequal list, a value that is not finite and a
        label out of range.
        """
        for path in self.files:
            first_row = 0
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(READ_ROWS, columns=["sample", "label", *self.exits]):
                    yield _read_rows(batch, self, path, first_row)
                    first_row += len(batch)


def open_cache(path: Path) -> LogitCache:
    """Return the cache at `path`, a Parquet file or a directory of them. InputError: it breaks the contract."""
    if not path.exists():
        raise InputError(f"there is no logit cache {path}")
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path} is a directory without .parquet files")
    caches = [_open_file(file) for file in files]
    first = caches[0]
    for other in caches[1:]:
        for what in ("exits", "n_classes", "class_names"):
            if getattr(other, what) != getattr(first, what):
                raise InputError(
                    f"{other.path} and {first.path} differ in {what.replace('n_', '')}: "
                    f"{getattr(other, what)} and {getattr(first, what)}; one cache must agree"
                )
    n_rows = sum(cache.n_rows for cache in caches)
    if n_rows == 0:
        raise InputError(f"{path} has zero rows; a logit cache needs at least one sample")
    return LogitCache(path, files, n_rows, first.exits, first.n_classes, first.metadata)


def _open_file(path: Path) -> LogitCache:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} is not a readable Parquet file: {' '.join(str(error).split())}") from None
    with file:
        schema, n_rows = file.schema_arrow, file.metadata.num_rows
        exits = _exit_columns(path, schema)
        for name in ("sample", "label"):
            if name not in schema.names:
                raise InputError(f"{path} has no column {name!r}; it has {', '.join(schema.names)}")
            if not pa.types.is_integer(schema.field(name).type):
                raise InputError(f"{path}: column {name!r} must be int64; it is {schema.field(name).type}")
        n_classes = _n_classes(path, file, exits) if n_rows else 2
    metadata = _read_metadata(path, schema, exits, n_classes if n_rows else None)
    return LogitCache(path, [path], n_rows, exits, n_classes, metadata)


def _exit_columns(path: Path, schema: pa.Schema) -> list[str]:
    numbers = sorted(int(match[1]) for match in map(_EXIT.fullmatch, schema.names) if match)
    if not numbers or numbers != list(range(1, len(numbers) + 1)):
        found = ", ".join(f"exit_{number}" for number in numbers) or "none"
        raise InputError(f"{path} must have columns exit_1 … exit_E without a gap; found: {found}")
    exits = [f"exit_{number}" for number in numbers]
    for name in exits:
        kind = schema.field(name).type
        is_list = pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)
        if not is_list or not pa.types.is_floating(kind.value_type):
            raise InputError(f"{path}: column {name!r} must be lists of floats, one per class; it is {kind}")
    return exits


def _n_classes(path: Path, file: pq.ParquetFile, exits: list[str]) -> int:
    """Return the classes of the first row; every other row is held against it when it is read."""
    first = next(file.iter_batches(1, columns=exits))
    lengths = {name: len(first.column(name)[0].as_py() or []) for name in exits}
    n_classes = lengths[exits[0]]
    for name, length in lengths.items():
        if length != n_classes or length < 2:
            raise InputError(
                f"{path}: row 0 of {name} has {length} logits and {exits[0]} has {n_classes}; "
                "every exit needs the same number of classes, at least 2"
            )
    return n_classes


def _read_metadata(path: Path, schema: pa.Schema, exits: list[str], n_classes: int | None) -> dict[str, Any]:
    text = (schema.metadata or {}).get(b"offramp")
    if text is None:
        raise InputError(f"{path} has no metadata key 'offramp'; it must hold JSON with schema_version 1")
    try:
        metadata = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path}: metadata key 'offramp' is not JSON: {error}") from None
    version = metadata.get("schema_version") if isinstance(metadata, dict) else None
    if version != SCHEMA_VERSION:
        raise InputError(f"{path}: metadata schema_version must be {SCHEMA_VERSION}; it is {version!r}")
    if metadata.get("exits", exits) != exits:
        raise InputError(f"{path}: metadata names exits {metadata['exits']}, the columns are {', '.join(exits)}")
    classes = metadata.get("classes")
    if classes is not None and not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
        raise InputError(f"{path}: metadata 'classes' must be a list of names; it is {classes!r:.80}")
    if classes and n_classes is not None and len(classes) != n_classes:
        raise InputError(f"{path}: metadata names {len(classes)} classes, the lists hold {n_classes} logits")
    return metadata


def _read_rows(batch: pa.RecordBatch, cache: LogitCache, path: Path, first_row: int) -> Rows:
    sample, label = batch.column("sample"), batch.column("label")
    if sample.null_count:
        row = first_row + int(np.flatnonzero(sample.is_null().to_numpy(zero_copy_only=False))[0])
        raise InputError(f"{path}: column 'sample' is null at row {row}; every row needs an id")
    try:  # whatever the integer type: an unsigned one cannot hold UNKNOWN
        label, sample = label.cast(pa.int64()), sample.cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: a sample id or label does not fit int64: {error}") from None
    labels = label.fill_null(UNKNOWN).to_numpy()
    known = label.is_valid().to_numpy(zero_copy_only=False)
    wrong = known & ((labels < 0) | (labels >= cache.n_classes))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"{path}: column 'label' is {labels[row]} at row {first_row + row}; "
            f"labels are 0 to {cache.n_classes - 1}, or null where unknown"
        )
    columns = [_read_logits(batch.column(name), name, cache, path, first_row) for name in cache.exits]
    return Rows(sample.to_numpy(), labels, np.stack(columns, axis=1))


def _read_logits(column: pa.Array, name: str, cache: LogitCache, path: Path, first_row: int) -> NDArray[np.floating]:
    """Return one exit's lists as an array (rows, classes)."""

    def refuse(bad: NDArray[np.bool_], what: str) -> None:
        if bad.any():
            row = first_row + int(np.flatnonzero(bad)[0])
            raise InputError(f"{path}: column {name!r} {what} at row {row}; it needs {cache.n_classes} finite numbers")

    refuse(column.is_null().to_numpy(zero_copy_only=False), "is null")
    lengths = np.asarray(pa.compute.list_value_length(column).to_numpy(zero_copy_only=False))
    refuse(lengths != cache.n_classes, "has another number of logits")
    values = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), cache.n_classes)  # null -> NaN
    refuse(~np.isfinite(values).all(axis=1), "is not finite (NaN, infinite or null)")
    return values
