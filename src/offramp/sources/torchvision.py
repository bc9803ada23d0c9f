"""The data sets that torchvision offers, read from the files as published; neither torch nor torchvision is imported.

Formats: `idx` (MNIST: a big-endian header and bytes, gzipped), `cifar10` and `cifar100` (the binary archives: a record
is one label, or a coarse and a fine one, and 3×32×32 bytes), `svhn` (MATLAB files, read whole: 225 MB; label 10 is the
digit 0) and `stl10` (binary archive, labels from 1, pixels by column). Nothing is unpickled, no archive member is
written to disk, and what a header says is compared with the bytes that follow.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.errors import InputError
from offramp.params.data import Torchvision
from offramp.sources.archives import blocks, broken, idx_blocks, idx_labels, members, words
from offramp.sources.downloads import fetch
from offramp.sources.pools import Item, Labels, Pool, Pools, require_in_range
from offramp.sources.published import PUBLISHED, Published

DIGITS = [str(digit) for digit in range(10)]
FASHION = [
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
]  # fmt: skip
CIFAR_MEMBERS = {
    "cifar10": {"train": [f"data_batch_{k}.bin" for k in range(1, 6)], "test": ["test_batch.bin"]},
    "cifar100": {"train": ["train.bin"], "test": ["test.bin"]},
}
CIFAR_NAMES = {"cifar10": "batches.meta.txt", "cifar100": "fine_label_names.txt"}
CIFAR_PIXELS, STL10_PIXELS = (3, 32, 32), (3, 96, 96)


def pools(dataset: Torchvision, published: dict[str, Published] = PUBLISHED) -> Pools:
    """Return a data set's images, downloading what is not in `dataset.root` yet. Raises InputError; see `fetch`."""
    about = published[dataset.dataset]
    folder = Path(dataset.root).expanduser() / dataset.dataset
    files = {role: fetch(file, folder) for role, file in about.files.items()}
    match about.format:
        case "idx":
            found = _idx(files, FASHION if dataset.dataset == "FashionMNIST" else DIGITS)
        case "svhn":
            found = _svhn(files)
        case "stl10":
            found = _stl10(files["archive"])
        case _:
            found = _cifar(files["archive"], about.format)
    for pool in (found.train, found.test):
        assert pool is not None, "these data sets have a test split"
        require_in_range(pool.labels, found.classes, pool.name)
    return found


def _idx(files: dict[str, Path], classes: list[str]) -> Pools:
    train, test = (
        Pool(
            str(files[f"{split}_images"]),
            idx_labels(files[f"{split}_labels"]),
            partial(_pixels, files[f"{split}_images"]),
        )
        for split in ("train", "test")
    )
    return Pools(classes, train, test)


def _pixels(path: Path) -> Iterator[Item]:
    for block in idx_blocks(path):
        yield from map(Item, block)


def _cifar(archive: Path, variant: str) -> Pools:
    wanted, label_bytes = CIFAR_MEMBERS[variant], 1 if variant == "cifar10" else 2
    labels: dict[str, list[NDArray[np.uint8]]] = {"train": [], "test": []}
    classes, seen = [], set()
    for name, content in members(archive):
        for split, names in wanted.items():
            if name in names:
                seen.add(name)
                records = blocks(content, label_bytes + int(np.prod(CIFAR_PIXELS)), f"{archive}: {name}")
                labels[split] += [block[:, label_bytes - 1].copy() for block in records]
        if name == CIFAR_NAMES[variant]:
            classes = words(content, f"{archive}: {name}")
    _require_members(archive, {*wanted["train"], *wanted["test"]} - seen)
    if not classes:
        raise InputError(f"{archive} names no classes; it should hold {CIFAR_NAMES[variant]}")
    train, test = (
        Pool(f"{archive}, {split}", _joined(labels[split]), partial(_cifar_items, archive, names, label_bytes))
        for split, names in wanted.items()
    )
    return Pools(classes, train, test)


def _cifar_items(archive: Path, names: list[str], label_bytes: int) -> Iterator[Item]:
    for name, content in members(archive):
        if name in names:
            for block in blocks(content, label_bytes + int(np.prod(CIFAR_PIXELS)), f"{archive}: {name}"):
                images = block[:, label_bytes:].reshape(-1, *CIFAR_PIXELS).transpose(0, 2, 3, 1)
                yield from (Item(np.ascontiguousarray(image)) for image in images)


def _svhn(files: dict[str, Path]) -> Pools:
    train, test = (
        Pool(str(path), _svhn_labels(path), partial(_svhn_items, path)) for path in (files["train"], files["test"])
    )
    return Pools(DIGITS, train, test)


def _svhn_labels(path: Path) -> Labels:
    labels = _matlab(path, "y").reshape(-1).astype(np.int64)
    return np.where(labels == 10, 0, labels)


def _svhn_items(path: Path) -> Iterator[Item]:
    images = _matlab(path, "X")
    if images.ndim != 4 or images.shape[2] != 3:
        raise InputError(f"{path}: X must have the shape (height, width, 3, images); it has {images.shape}")
    for number in range(images.shape[3]):
        yield Item(np.ascontiguousarray(images[..., number]))


def _matlab(path: Path, variable: str) -> NDArray[np.uint8]:
    from scipy.io import loadmat  # a quarter of a second of import, needed by this format only

    with broken(path):
        values = loadmat(path, variable_names=[variable]).get(variable)
    if not isinstance(values, np.ndarray) or values.dtype != np.uint8:
        raise InputError(f"{path} must hold {variable}, an array of uint8; it is no SVHN file")
    return values


def _stl10(archive: Path) -> Pools:
    labels: dict[str, Labels] = {}
    classes: list[str] = []
    for name, content in members(archive):
        if name in ("train_y.bin", "test_y.bin"):
            labels[name[: -len("_y.bin")]] = _joined([block[:, 0] for block in blocks(content, 1, name)]) - 1
        elif name == "class_names.txt":
            classes = words(content, f"{archive}: {name}")
        if len(labels) == 2 and classes:
            break  # the archive's larger part are images without labels
    _require_members(
        archive, {f"{split}_y.bin" for split in ("train", "test")} - {f"{split}_y.bin" for split in labels}
    )
    if not classes:
        raise InputError(f"{archive} names no classes; it should hold class_names.txt")
    train, test = (
        Pool(f"{archive}, {split}", labels[split], partial(_stl10_items, archive, f"{split}_X.bin"))
        for split in ("train", "test")
    )
    return Pools(classes, train, test)


def _stl10_items(archive: Path, wanted: str) -> Iterator[Item]:
    for name, content in members(archive):
        if name == wanted:
            for block in blocks(content, int(np.prod(STL10_PIXELS)), f"{archive}: {name}"):
                images = block.reshape(-1, *STL10_PIXELS).transpose(0, 3, 2, 1)
                yield from (Item(np.ascontiguousarray(image)) for image in images)
            return
    _require_members(archive, {wanted})


def _joined(parts: list[NDArray[np.uint8]]) -> Labels:
    return np.concatenate([np.zeros(0, np.int64), *parts]).astype(np.int64)


def _require_members(archive: Path, missing: set[str]) -> None:
    if missing:
        raise InputError(f"{archive} does not hold {', '.join(sorted(missing))}; it is another archive")
