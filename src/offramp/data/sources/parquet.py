"""Tables of others: columns `image` (struct<bytes, path>, or binary) and `label` (int), as the datasets library writes.

Class names come from the `huggingface` metadata key; without it classes are named by the digits of their labels. A
directory of Parquet files is one table. Only `bytes` are read: a `path` beside them is kept and never opened.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from offramp.data.params import Parquet
from offramp.data.sources.pools import (
    Item,
    Labels,
    Pool,
    Pools,
    Unreadable,
    require_in_range,
    require_same_classes,
    require_text,
)
from offramp.project.errors import InputError

ROWS_AT_ONCE = 64
BUFFER = 2**20  # bytes of a column that are read at once


def pools(name: str, dataset: Parquet) -> Pools:
    """Read the labels of both tables. Raises InputError for what is missing, of another type or contradictory."""
    (train, train_names), (test, test_names) = (
        _pool(f"datasets.{name}.{split}", Path(path).expanduser())
        for split, path in (("train", dataset.train), ("test", dataset.test))
    )
    if (train_names is None) != (test_names is None):
        named, bare = (test, train) if train_names is None else (train, test)
        raise InputError(f"{named.name} names its classes in the metadata and {bare.name} does not; both must, or none")
    if train_names is None or test_names is None:
        train_names, test_names = _digits(train), _digits(test)
        present = [[str(label) for label in np.unique(pool.labels)] for pool in (train, test)]
        require_same_classes(present[0], present[1], train.name, test.name)
    require_same_classes(train_names, test_names, train.name, test.name)
    for pool in (train, test):
        require_in_range(pool.labels, train_names, pool.name)
    return Pools(train_names, train, test)


def _pool(key: str, path: Path) -> tuple[Pool, list[str] | None]:
    files = _files(key, path)
    labels, names = [], []
    for file in files:
        with _reading(file) as table:
            schema = table.schema_arrow
            _require_columns(file, schema)
            labels.append(_labels(file, table.read(columns=["label"]).column(0)))
            names.append(_class_names(file, schema))
    for file, other in zip(files, names, strict=True):
        if other != names[0]:
            raise InputError(f"{file} and {files[0]} are one table ({path}) but name their classes differently")
    together = np.concatenate(labels)
    if not len(together):
        raise InputError(f"{path} has no rows; {key} must name a table of images")
    return Pool(str(path), together, partial(_items, files)), names[0]


def _files(key: str, path: Path) -> list[Path]:
    if not path.is_dir():
        if not path.is_file():
            raise InputError(f"{key} names {path}, which is not a file or a folder here ({Path.cwd()})")
        return [path]
    files = sorted(file for file in path.glob("*.parquet") if file.name[0] != ".")
    if not files:
        raise InputError(f"{key} names {path}, a folder without Parquet files (*.parquet)")
    return files


@contextmanager
def _reading(file: Path) -> Iterator[pq.ParquetFile]:
    try:
        # Without both arguments a whole row group is read at once, and others may write a file as one.
        with pq.ParquetFile(file, buffer_size=BUFFER, pre_buffer=False) as table:
            yield table
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file} is not a readable Parquet file: {' '.join(str(error).split())}") from None


def _require_columns(file: Path, schema: pa.Schema) -> None:
    for name in ("image", "label"):
        if schema.names.count(name) != 1:
            columns = ", ".join(schema.names)
            raise InputError(f"{file} must have one column {name!r}; its columns are {columns}")
    image, label = schema.field("image").type, schema.field("label").type
    if pa.types.is_struct(image) and image.get_field_index("bytes") >= 0:
        image = image.field("bytes").type
    if not (pa.types.is_binary(image) or pa.types.is_large_binary(image)):
        given = schema.field("image").type
        raise InputError(f"{file}: column 'image' must be struct<bytes: binary, path: string> or binary; it is {given}")
    if not pa.types.is_integer(label):
        raise InputError(f"{file}: column 'label' must hold whole numbers; it is {label}")


def _labels(file: Path, column: pa.ChunkedArray) -> Labels:
    if column.null_count:
        row = column.is_null().to_numpy().argmax()
        raise InputError(f"{file}: the label of row {row} is missing; images for training and testing need one")
    try:
        return column.cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid:  # an unsigned label past 2^63
        raise InputError(f"{file}: a label is too large to be the number of a class") from None


def _class_names(file: Path, schema: pa.Schema) -> list[str] | None:
    """Return the names in the metadata, None where it has none. Raises InputError for names that are none."""
    try:
        label: Any = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]["label"]
        names = label["names"]
    except (KeyError, TypeError, ValueError, RecursionError):  # no such key, not JSON, or a label without names
        return None
    if isinstance(names, dict):  # the library's older form: {"0": "cat", ...}, in whatever order
        if set(names) != {str(number) for number in range(len(names))}:
            raise InputError(
                f"{file}: the class names in its metadata must be numbered from 0 on; they are {names!r:.60}"
            )
        names = [names[str(number)] for number in range(len(names))]
    if not names or not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{file}: the class names in its metadata must be a list of strings; they are {names!r:.60}")
    if len(set(names)) < len(names):
        raise InputError(f"{file}: a class name stands twice in its metadata")
    require_text(names, str(file))
    return names


def _digits(pool: Pool) -> list[str]:
    highest = int(pool.labels.max())
    if highest >= len(pool.labels) or pool.labels.min() < 0:
        wrong = highest if highest >= len(pool.labels) else int(pool.labels.min())
        raise InputError(f"{pool.name} has a label {wrong}; labels must count the classes, from 0 on")
    return [str(label) for label in range(highest + 1)]


def _items(files: list[Path]) -> Iterator[Item]:
    for file in files:
        with _reading(file) as table:
            for batch in table.iter_batches(ROWS_AT_ONCE, columns=["image"], use_threads=False):
                yield from _images(batch.column("image"))


def _images(column: pa.Array) -> Iterator[Item]:
    present, contents = column.is_valid(), column
    paths: pa.Array | list[None] = [None] * len(column)
    if pa.types.is_struct(column.type):
        contents = column.field("bytes")
        index = column.type.get_field_index("path")
        if index >= 0 and pa.types.is_string(column.type.field(index).type):
            paths = column.field(index).cast(pa.binary())  # what is written in a file need not be UTF-8
    for content, path, valid in zip(contents, paths, present, strict=True):
        found = content.as_py() if valid.as_py() else None
        name = path.as_py() if path is not None else None
        yield Item(
            Unreadable("it holds no bytes") if found is None else found, name and name.decode("utf-8", "replace")
        )
