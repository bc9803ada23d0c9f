"""From a source's pools to three splits: read once, made to fit, and put in a seeded order on disk.

All images are read before the first split is written, so that whatever is wrong with them leaves earlier files as they
are. What is in memory does not grow with the images but for their labels, order and places, about 40 bytes an image,
and the names that a folder lists, about as much again (results/streaming).
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from offramp import pictures
from offramp.errors import InputError
from offramp.params.data import AnyPictures
from offramp.pictures import Size
from offramp.prepared import Batch, EncodedBatch
from offramp.sources.dealing import Dealt, deal, labels_of, require_classes
from offramp.sources.pools import Item, Pool, Pools, Unreadable
from offramp.sources.spool import Spool

NAMED = 10  # unreadable images that are named; all are counted


@dataclass(frozen=True)
class Rows:
    """A split to be written: its batches, how many rows they hold, and what its metadata says beside."""

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
