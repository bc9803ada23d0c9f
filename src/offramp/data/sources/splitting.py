"""Which rows of a source become train, val and test: seeded permutations, so that no split is ordered by class."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from offramp.data import pictures
from offramp.data.params import AnyDataset, AnyPictures, ClutteredDigits, Folder
from offramp.data.pictures import Size
from offramp.data.prepared import Batch, EncodedBatch
from offramp.data.sources.pools import Item, Labels, Pool, Pools, RowNumbers, Unreadable
from offramp.data.sources.spool import Spool
from offramp.project.errors import InputError

PURPOSES = {"train": 0, "test": 1}  # a generator each, so that one pool's size does not change the other's order


class Dealt(NamedTuple):
    """A split: the pool that it is taken from (`train` or `test`) and its rows there, in the split's order."""

    pool: str
    rows: RowNumbers


def deal(name: str, dataset: AnyPictures, n_train: int, n_test: int | None, seed: int) -> dict[str, Dealt]:
    """Deal pools of `n_train` and `n_test` images to the three splits; every image is in one of them.

    Without a test pool (`n_test` None), `dataset.test` images of the training pool are the test split. Then
    `dataset.val` images move to val from the side that `dataset.val_from` names. Raises InputError where a side would
    keep none.
    """
    train = Dealt("train", _permutation(n_train, "train", seed))
    if n_test is not None:
        test = Dealt("test", _permutation(n_test, "test", seed))
    else:
        assert isinstance(dataset, Folder) and dataset.test is not None, "only a folder may be one pool"
        wanted = dataset.test
        _require_fewer(f"datasets.{name}.test", wanted, n_train, "images there are")
        train, test = Dealt("train", train.rows[wanted:]), Dealt("train", train.rows[:wanted])
    taken = train if dataset.val_from == "train" else test
    _require_fewer(f"datasets.{name}.val", dataset.val, len(taken.rows), f"{dataset.val_from} images it is taken from")
    val, kept = Dealt(taken.pool, taken.rows[: dataset.val]), Dealt(taken.pool, taken.rows[dataset.val :])
    if dataset.val_from == "train":
        return {"train": kept, "val": val, "test": test}
    return {"train": train, "val": val, "test": kept}


def labels_of(dealt: Mapping[str, Dealt], pools: Pools) -> dict[str, Labels]:
    """Return the labels of every split (n,), in its order."""
    known = {"train": pools.train.labels}
    if pools.test is not None:
        known["test"] = pools.test.labels
    return {split: known[part.pool][part.rows] for split, part in dealt.items()}


def require_classes(
    name: str, dataset: AnyDataset, labels: Mapping[str, Labels], classes: list[str], seed: int, left: str = ""
) -> None:
    """Raise InputError where train or val lacks a class, or test has no row; `left` says why rows are missing."""
    if len(classes) < 2:
        raise InputError(
            f"datasets.{name} has one class ({', '.join(classes)}); two are needed to tell one from another"
        )
    for split in ("train", "val"):
        n = len(labels[split])
        absent = np.flatnonzero(np.bincount(labels[split], minlength=len(classes)) == 0)
        if len(absent):
            named = ", ".join(classes[number] for number in absent[:10]) + ", …" * (len(absent) > 10)
            keyed = split == "val" or isinstance(dataset, ClutteredDigits)
            what = f"datasets.{name}.{split} is {n}" if keyed else f"datasets.{name} leaves {n} rows for train"
            raise InputError(
                f"{what}: with seed {seed} no sample of class {named} is among them{left}; every class must be in "
                f"train and val, so take {'more' if keyed else 'fewer for val'}"
            )
    if not len(labels["test"]):
        raise InputError(f"datasets.{name} has no row for test{left}")


def _require_fewer(key: str, wanted: int, there_are: int, what: str) -> None:
    if wanted >= there_are:
        raise InputError(f"{key} must be smaller than the {there_are} {what}; got {wanted}")


def _permutation(n: int, purpose: str, seed: int) -> RowNumbers:
    return np.random.default_rng([seed, PURPOSES[purpose]]).permutation(n)


NAMED = 10  # unreadable images that are named; all are counted


@dataclass(frozen=True)
class Rows:
    """A split to be written: its batches, how many rows they hold, and further metadata."""

    batches: Iterator[Batch | EncodedBatch]
    count: int
    about: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Opened:
    """A data set to be written; `notes` are lines for the user about what was left out."""

    classes: list[str]
    splits: dict[str, Rows]
    notes: list[str]


@dataclass
class _Reading:
    """What images must become, and what is known so far of those of all pools: their size, and the unreadable ones.

    `wanted` None: every image must have the size of the first one.
    """

    name: str
    channels: int
    wanted: Size | None
    size: Size | None = None
    unreadable: list[str] = field(default_factory=list)
    n_unreadable: int = 0

    def drop(self, label: str, reason: str) -> None:
        self.n_unreadable += 1
        if self.n_unreadable <= NAMED:
            self.unreadable.append(f"{label}: {reason}")

    def left_out(self) -> str:
        if not self.n_unreadable:
            return ""
        return f" after {self.n_unreadable} unreadable images were left out (first {self.unreadable[0]})"

    def notes(self) -> list[str]:
        if not self.n_unreadable:
            return []
        more = [f"  and {self.n_unreadable - NAMED} more"] if self.n_unreadable > NAMED else []
        return [f"{self.n_unreadable} unreadable images left out:", *(f"  {line}" for line in self.unreadable), *more]


def check_pools(name: str, dataset: AnyPictures, pools: Pools, seed: int) -> dict[str, Dealt]:
    """Return how the splits are dealt. Raises InputError where one lacks a class, without reading an image."""
    n_test = None if pools.test is None else len(pools.test.labels)
    dealt = deal(name, dataset, len(pools.train.labels), n_test, seed)
    require_classes(name, dataset, labels_of(dealt, pools), pools.classes, seed)
    return dealt


@contextmanager
def split_pools(name: str, dataset: AnyPictures, pools: Pools, seed: int, folder: Path) -> Iterator[Opened]:
    """Yield the three splits of a source; `folder` has room for all of its images while the context lasts.

    Images become `dataset.channels` and `dataset.image_size`; without the latter all must have the first one's size.
    Raises InputError for one that has not, and where unreadable images leave a split or a class without any.
    """
    dealt = check_pools(name, dataset, pools, seed)
    side = dataset.image_size
    reading = _Reading(name, dataset.channels, None if side is None else Size(side, side))
    with ExitStack() as stack:
        spools = {}
        for key, pool in (("train", pools.train), ("test", pools.test)):
            if pool is not None:
                spools[key] = stack.enter_context(Spool(folder, len(pool.labels)))
                _fill(spools[key], pool, key, reading)
        kept = {split: part._replace(rows=spools[part.pool].kept(part.rows)) for split, part in dealt.items()}
        labels = labels_of(kept, pools)
        require_classes(name, dataset, labels, pools.classes, seed, reading.left_out())
        assert reading.size is not None, "every split has an image"
        splits = {}
        for split, part in kept.items():
            batches = spools[part.pool].batches(part.rows, labels[split], dataset.channels, reading.size)
            lost = len(dealt[split].rows) - len(part.rows)
            about = {"val_from": dataset.val_from} | ({"unreadable": lost} if lost else {})
            splits[split] = Rows(batches, len(part.rows), about)
        yield Opened(pools.classes, splits, reading.notes())


def _fill(spool: Spool, pool: Pool, key: str, reading: _Reading) -> None:
    """Read a pool to its end. Raises InputError where it holds more or fewer images than labels."""
    count = 0
    progress = tqdm(pool.items(), f"{reading.name} {key}", len(pool.labels), unit="image", disable=None, leave=False)
    with progress, pictures.bombs_refused():
        for item in progress:
            if count < len(pool.labels):
                _add(spool, item, item.path or f"row {count} of {pool.name}", reading)
            count += 1
    if count != len(pool.labels):
        raise InputError(f"{pool.name} holds {count} images and {len(pool.labels)} labels; there must be one each")


def _add(spool: Spool, item: Item, label: str, reading: _Reading) -> None:
    if isinstance(item.content, Unreadable):
        spool.drop()
        return reading.drop(label, item.content.reason)
    try:
        encoded = pictures.fitted(item.content, reading.channels, reading.wanted)
    except Exception as error:  # decoders of broken files raise whatever they come upon
        spool.drop()
        return reading.drop(label, pictures.reason(error))
    if reading.size is None:
        reading.size = encoded.size
    if encoded.size != reading.size:
        raise InputError(
            f"{label} is {encoded.size} pixels and the first image {reading.size}; give datasets.{reading.name}."
            "image_size, to which all are then resized"
        )
    spool.add(encoded, item.path)
    return None
