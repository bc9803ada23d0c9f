"""Preparing a data set of a test: what the prepare stage does, and all of what it wrote."""

import json
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from offramp.data import sources
from offramp.data.params import Datasets
from offramp.data.prepared import read_batches, write_split


class Prepared(NamedTuple):
    images: np.ndarray
    labels: np.ndarray
    paths: list
    contents: list
    split: object
    about: dict


def dataset(**parameters):
    return TypeAdapter(Datasets).validate_python({"mine": parameters})["mine"]


def prepare(folder, seed=17, notes=None, **parameters):
    with sources.opened("mine", dataset(**parameters), seed, folder) as source:
        if notes is not None:
            notes += source.notes
        return {
            name: read_back(
                write_split(
                    folder / f"{name}.parquet", rows.batches, "mine", name, source.classes, rows.count, rows.about
                )
            )
            for name, rows in source.splits.items()
        }


def read_back(split):
    parts = list(read_batches(split, 64))
    images, labels = (np.concatenate([part[k] for part in parts]) for k in (1, 2))
    rows = pq.read_table(split.path, columns=["image"]).column(0).to_pylist()
    about = json.loads(pq.read_schema(split.path).metadata[b"offramp"])
    return Prepared(images, labels, [row["path"] for row in rows], [row["bytes"] for row in rows], split, about)


def together(prepared, what):
    """Return a column of all splits, one after the other."""
    return [value for split in prepared.values() for value in getattr(split, what)]


def noise(n, seed=0, side=6, channels=3):
    shape = (n, side, side, channels) if channels == 3 else (n, side, side)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
