"""The data sets that torchvision publishes, downloaded, verified and decoded by its own classes.

A data set is kept in ROOT/NAME, the archive and what torchvision extracts from it (STL10: 6 GB, its unlabelled images
included). The MD5 digest of every file is compared with the one in torchvision's source before it is decoded or
unpickled. The files extracted of MNIST have no digest there; they are compared with their archive here, and a different
one is extracted again. torch and torchvision are imported when a data set is opened; it is then in memory as a whole.
"""

import gzip
import http.client
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from offramp.data.params import Torchvision
from offramp.data.sources.pools import Item, Pool, Pools, require_in_range
from offramp.project.errors import InputError

DIGITS = [str(digit) for digit in range(10)]
N_IMAGES = {  # (train, test): parameters are checked before anything is downloaded
    "MNIST": (60000, 10000),
    "FashionMNIST": (60000, 10000),
    "CIFAR10": (50000, 10000),
    "CIFAR100": (50000, 10000),
    "SVHN": (73257, 26032),
    "STL10": (5000, 8000),
}
TIMEOUT = 30  # seconds without a byte


def pools(dataset: Torchvision) -> Pools:
    """Return a data set's images, downloading what is not in `dataset.root` yet.

    Raises InputError, naming the files to put there by hand, where they cannot be downloaded or are not as published.
    """
    folder = Path(dataset.root).expanduser() / dataset.dataset
    train, test = (_open(dataset.dataset, folder, split) for split in ("train", "test"))
    names = DIGITS if dataset.dataset in ("MNIST", "SVHN") else getattr(train, "classes", [])
    if not names:
        raise InputError(f"{folder} names no classes; remove what is extracted there, and it is extracted again")
    found = [
        Pool(f"{split} of {folder}", np.asarray(_labels(part)).astype(np.int64), partial(_items, part))
        for split, part in (("train", train), ("test", test))
    ]
    for pool, n_images in zip(found, N_IMAGES[dataset.dataset], strict=True):
        if len(pool.labels) != n_images:
            raise InputError(f"{pool.name} has {len(pool.labels)} images; {dataset.dataset} has {n_images} there")
        require_in_range(pool.labels, names, pool.name)
    return Pools(names, *found)


def _open(name: str, folder: Path, split: str) -> Any:
    """Return a split as torchvision's data set, downloaded and verified. Raises InputError; see `pools`."""
    kind = getattr(_datasets(), name)
    try:
        with _timeout():
            if name in ("MNIST", "FashionMNIST"):
                _check_extracted(folder, kind.resources)
                return kind(folder.parent, train=split == "train", download=True)  # it adds its own name
            if name in ("CIFAR10", "CIFAR100"):
                return kind(folder, train=split == "train", download=True)
            return kind(folder, split=split, download=True)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        absent = ", ".join(_absent(kind, folder))
        advice = f"put {absent} by hand" if absent else f"remove what is extracted in {folder}"
        raise InputError(
            f"{name} could not be downloaded or read: {reason}; {advice}, or set data.name to cluttered_digits, which "
            "needs no network"
        ) from None


def _check_extracted(folder: Path, resources: list[tuple[str, str]]) -> None:
    """Remove extracted files of MNIST that are not those of the published archive: torchvision extracts them again."""
    if (folder / "processed").exists():  # torchvision would prefer it, and has no digest of it
        raise InputError(f"{folder / 'processed'} is of an old torchvision and cannot be verified; remove it")
    for name, md5 in resources:
        archive = folder / "raw" / name
        extracted = archive.with_suffix("")
        if extracted.exists() and not (_is_published(archive, md5) and _holds(archive, extracted)):
            extracted.unlink()


def _holds(archive: Path, extracted: Path) -> bool:
    return gzip.decompress(archive.read_bytes()) == extracted.read_bytes()


def _absent(kind: Any, folder: Path) -> Iterator[str]:
    """Yield what to put where, for each published file that is absent or different."""
    if hasattr(kind, "resources"):
        files = [(kind.mirrors[0] + name, md5, folder / "raw" / name) for name, md5 in kind.resources]
    elif hasattr(kind, "split_list"):
        files = [(url, md5, folder / name) for url, name, md5 in (kind.split_list["train"], kind.split_list["test"])]
    else:
        files = [(kind.url, kind.tgz_md5, folder / kind.filename)]
    return (f"{url} (MD5 {md5}) at {path}" for url, md5, path in files if not _is_published(path, md5))


def _is_published(path: Path, md5: str) -> bool:
    same: bool = _datasets().utils.check_integrity(path, md5)
    return same


def _datasets() -> Any:
    from offramp.project.torchvision_import import torchvision  # imports torch

    return torchvision().datasets


def _labels(part: Any) -> Any:
    return part.labels if hasattr(part, "labels") else part.targets


def _items(part: Any) -> Iterator[Item]:
    for number in range(len(part)):
        yield Item(np.asarray(part[number][0]))


@contextmanager
def _timeout() -> Iterator[None]:
    """Let a download fail after `TIMEOUT`: torchvision sets none and would wait forever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
