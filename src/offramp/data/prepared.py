"""Prepared images: data/prepared/{train,val,test}.parquet, written once, read as a stream.

Columns `sample` int64, `image` struct<bytes, path> (the file's own bytes where they fit, else PNG), `label` int64 and,
where a data set grades its images, `difficulty` float32. Class names stand in the `huggingface` metadata key in the
datasets library's format; the data set's name, the image shape and where val rows come from in the `offramp` key.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tqdm import tqdm

from offramp.data import pictures
from offramp.project.errors import InputError
from offramp.project.files import replacing

ROW_GROUP = 1000  # rows; what a reader holds at once

Images = NDArray[np.uint8]  # (samples, height, width, channels)


@dataclass(frozen=True)
class Batch:
    """Rows of a split: images (n, height, width, channels), labels (n,), difficulty (n,) or None."""

    images: Images
    labels: NDArray[np.int64]
    difficulty: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class EncodedBatch:
    """Rows of a split as they are stored: n image files of this shape, their relative names (n) and labels (n,)."""

    contents: Sequence[bytes]
    paths: Sequence[str | None]
    labels: NDArray[np.int64]
    image_shape: tuple[int, int, int]  # channels, height, width


@dataclass(frozen=True)
class Split:
    """A prepared split's file and what its metadata says."""

    path: Path
    rows: int
    dataset: str
    classes: list[str]
    image_shape: tuple[int, int, int]  # channels, height, width
    has_difficulty: bool
    val_from: str | None = None  # the split of the source that val rows were taken from; None where they are rendered


def write_split(
    path: Path,
    batches: Iterable[Batch | EncodedBatch],
    dataset: str,
    split: str,
    classes: list[str],
    n_expected: int | None = None,
    about: Mapping[str, object] | None = None,
) -> Split:
    """Write batches, in their order, as rows numbered from 0. Nothing is written when a batch fails.

    `n_expected` rows, where it is known, is what the progress bar counts to; `about` is added to the metadata.
    """
    writer: pq.ParquetWriter | None = None
    rows = 0
    with (
        replacing(path) as temporary,
        tqdm(total=n_expected, desc=f"{dataset} {split}", unit="image", disable=None, leave=False) as progress,
    ):
        try:
            for batch in batches:
                table = _to_table(batch, rows)
                if writer is None:
                    metadata = _metadata(dataset, split, classes, _image_shape(batch), about or {})
                    schema = table.schema.with_metadata(metadata)
                    writer = pq.ParquetWriter(temporary, schema)
                writer.write_table(table.replace_schema_metadata(schema.metadata), row_group_size=ROW_GROUP)
                rows += len(table)
                progress.update(len(table))
        finally:
            if writer is not None:
                writer.close()
        if not rows:
            raise InputError(f"the {split} split of {dataset} has no rows; a split needs at least one")
    return read_split(path)


def read_split(path: Path) -> Split:
    """Return what a prepared file says of itself. Raises InputError for a missing, broken or foreign file."""
    try:
        file = pq.ParquetFile(path)
    except FileNotFoundError:
        raise InputError(f"there is no {path}; run `dvc repro prepare`") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} is not a readable Parquet file: {error}") from None
    with file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
    missing = {"sample", "image", "label"} - set(schema.names)
    metadata = schema.metadata or {}
    if missing or b"offramp" not in metadata or b"huggingface" not in metadata:
        lacking = f"lacks column {sorted(missing)[0]!r}" if missing else "lacks its class names and image shape"
        raise InputError(f"{path} {lacking}; it was not written by the prepare stage: run `dvc repro prepare`")
    about = json.loads(metadata[b"offramp"])
    features = json.loads(metadata[b"huggingface"])["info"]["features"]
    channels, height, width = about["image_shape"]
    return Split(
        path=path,
        rows=rows,
        dataset=about["dataset"],
        classes=features["label"]["names"],
        image_shape=(channels, height, width),
        has_difficulty="difficulty" in schema.names,
        val_from=about.get("val_from"),
    )


def read_batches(split: Split, batch_size: int) -> Iterator[tuple[NDArray[np.int64], Images, NDArray[np.int64]]]:
    """Yield sample ids (n,), images (n, height, width, channels) and labels (n,), `batch_size` rows at a time."""
    with pq.ParquetFile(split.path) as file:
        for batch in file.iter_batches(batch_size, columns=["sample", "image", "label"]):
            encoded = batch.column("image").field("bytes").to_pylist()
            sample = batch.column("sample").to_numpy()
            yield sample, decode(encoded, split, sample), batch.column("label").to_numpy()


def difficulty_of(split: Split, sample: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """Return the difficulty of these samples (n,), in their order; None where the data set grades nothing.

    Raises InputError for a sample that the split does not hold.
    """
    if not split.has_difficulty:
        return None
    values: NDArray[np.float32] = pq.read_table(split.path, columns=["difficulty"]).column(0).to_numpy()
    return values[_rows_of(split, sample)]


def images_of(split: Split, sample: NDArray[np.int64]) -> Images:
    """Return the images of these samples (n, height, width, channels), in their order; for a handful, not for a pass.

    Raises InputError for a sample that the split does not hold and for an image that cannot be decoded.
    """
    rows = _rows_of(split, sample)
    encoded = {}
    first = 0
    with pq.ParquetFile(split.path) as file:
        for batch in file.iter_batches(ROW_GROUP, columns=["image"]):
            for row in rows[(rows >= first) & (rows < first + len(batch))]:
                encoded[row] = batch.column("image").field("bytes")[row - first].as_py()
            first += len(batch)
    return decode([encoded[row] for row in rows], split, sample)


def _rows_of(split: Split, sample: NDArray[np.int64]) -> NDArray[np.intp]:
    known = pq.read_table(split.path, columns=["sample"]).column(0).to_numpy()
    order = np.argsort(known)
    rows: NDArray[np.intp] = order[np.searchsorted(known, sample, sorter=order).clip(max=len(known) - 1)]
    absent = sample[known[rows] != sample]
    if len(absent):
        raise InputError(
            f"{split.path} has no sample {absent[0]}, which the logit cache holds; they are not of one split"
        )
    return rows


def decode(encoded: list[bytes], split: Split, sample: NDArray[np.int64]) -> Images:
    """Return encoded images as one array of the split's shape. Raises InputError naming the sample that is broken."""
    channels, height, width = split.image_shape
    images = np.empty((len(encoded), height, width, channels), np.uint8)
    size = pictures.Size(width, height)
    for row, content in enumerate(encoded):
        try:
            images[row] = pictures.decode(content, channels, size)
        except Exception as error:  # decoders of broken files raise whatever they come upon
            because = pictures.reason(error)
            raise InputError(f"{split.path}: the image of sample {sample[row]} cannot be read: {because}") from None
    return images


def _image_shape(batch: Batch | EncodedBatch) -> tuple[int, int, int]:
    if isinstance(batch, EncodedBatch):
        return batch.image_shape
    _, height, width, channels = batch.images.shape
    return channels, height, width


def _to_table(batch: Batch | EncodedBatch, first_sample: int) -> pa.Table:
    if isinstance(batch, EncodedBatch):
        encoded, paths = pa.array(batch.contents, pa.binary()), pa.array(batch.paths, pa.string())
    else:
        encoded = pa.array([pictures.encode(image) for image in batch.images], pa.binary())
        paths = pa.nulls(len(encoded), pa.string())
    columns = {
        "sample": pa.array(np.arange(first_sample, first_sample + len(encoded), dtype=np.int64)),
        "image": pa.StructArray.from_arrays([encoded, paths], ["bytes", "path"]),
        "label": pa.array(batch.labels, pa.int64()),
    }
    if isinstance(batch, Batch) and batch.difficulty is not None:
        columns["difficulty"] = pa.array(batch.difficulty, pa.float32())
    return pa.table(columns)


def _metadata(
    dataset: str, split: str, classes: list[str], shape: tuple[int, int, int], more: Mapping[str, object]
) -> dict[str, str]:
    features = {"image": {"_type": "Image"}, "label": {"names": classes, "_type": "ClassLabel"}}
    about = {"schema_version": 1, "dataset": dataset, "split": split, "image_shape": list(shape), **more}
    return {"huggingface": json.dumps({"info": {"features": features}}), "offramp": json.dumps(about)}
