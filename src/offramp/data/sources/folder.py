"""Image files in folders: ROOT/train/CLASS/* and ROOT/test/CLASS/*, or ROOT/CLASS/* (also ROOT/train/CLASS/* alone).

Classes are the folders' names, sorted. Hidden files and folders and files that do not end like images are passed over;
images lie in the class folders themselves. A link to a file is followed where that file is under ROOT; a link that
leaves ROOT, and every link to a folder, is refused: a folder from elsewhere must not lead to other files here.
"""

import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from offramp.data.params import Folder
from offramp.data.pictures import SUFFIXES, reason
from offramp.data.sources.pools import Item, Pool, Pools, Unreadable, require_same_classes, require_text
from offramp.project.errors import InputError

LARGEST_FILE = 2**28  # bytes; a file is in memory as a whole


def pools(name: str, dataset: Folder) -> Pools:
    """List the files of a folder. Raises InputError where it has no class folders, or one without images."""
    root = Path(dataset.root).expanduser()
    if not root.is_dir():
        raise InputError(f"datasets.{name}.root names {root}, which is not a folder here ({Path.cwd()})")
    parts = {split: root / split for split in ("train", "test") if (root / split).is_dir()}
    for part in parts.values():
        if part.is_symlink():
            raise InputError(f"{part} is a link to a folder; put the folder itself there")
    key = f"datasets.{name}.test"
    if "test" in parts and "train" not in parts:
        raise InputError(f"{root} has a folder test and no folder train; it must have both, or class folders only")
    if "test" in parts and dataset.test is not None:
        raise InputError(f"{key} is {dataset.test}, but {parts['test']} is the test split; leave {key} out")
    if "test" not in parts and dataset.test is None:
        raise InputError(f"{root} has no folder test; {key} must say how many of its images are for testing")
    classes, train = _pool(root, parts.get("train", root))
    if "test" not in parts:
        return Pools(classes, train, None)
    test_classes, test = _pool(root, parts["test"])
    require_same_classes(classes, test_classes, train.name, test.name)
    return Pools(classes, train, test)


def _pool(root: Path, part: Path) -> tuple[list[str], Pool]:
    inside = _Inside(root)
    classes = [entry.name for entry in _visible(part) if inside.is_folder(entry)]
    if not classes:
        raise InputError(f"{part} has no folders; it must hold one folder of images per class")
    require_text(classes, str(part))
    # Names as Arrow holds them, side by side: as Python strings they would take six times the memory.
    names = [_images(inside, part / label) for label in classes]
    labels = np.repeat(np.arange(len(classes)), [len(some) for some in names])
    return classes, Pool(str(part), labels, partial(_items, root, part, classes, names))


def _images(inside: "_Inside", folder: Path) -> pa.LargeBinaryArray:
    names = []
    for entry in _visible(folder):
        if inside.is_folder(entry):
            raise InputError(f"{entry.path} is a folder in a class folder; images must lie in {folder} itself")
        if entry.name.lower().endswith(SUFFIXES):
            names.append(os.fsencode(entry.name))
    if not names:
        raise InputError(f"there is no image in {folder} ({' '.join(SUFFIXES)}); remove it or put images there")
    return pa.array(names, pa.large_binary())


class _Inside:
    """Answers whether an entry is a folder, and refuses links that lead out of the root or to a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def is_folder(self, entry: "os.DirEntry[str]") -> bool:
        if entry.is_symlink():
            try:
                is_folder, target = entry.is_dir(), Path(entry.path).resolve()
            except (OSError, RuntimeError):  # links that lead to each other
                raise InputError(f"{entry.path} is a link that leads nowhere; remove it") from None
            if is_folder:
                raise InputError(f"{entry.path} is a link to a folder; put the folder itself there")
            if not target.is_relative_to(self.root):
                raise InputError(f"{entry.path} is a link out of {self.root}; put the file itself there")
        return entry.is_dir()


def _visible(folder: Path) -> "list[os.DirEntry[str]]":
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if entry.name[0] != "."), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {reason(error)}") from None


def _items(root: Path, part: Path, classes: list[str], names: list[pa.LargeBinaryArray]) -> Iterator[Item]:
    for label, some in zip(classes, names, strict=True):
        for name in some:
            path = part / label / os.fsdecode(name.as_py())
            shown = os.fsencode(path.relative_to(root)).decode("utf-8", "replace")  # a file's name need not be UTF-8
            yield Item(_content(path), shown.replace(os.sep, "/"))


def _content(path: Path) -> bytes | Unreadable:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
            return Unreadable("it is not a file")
        if status.st_size > LARGEST_FILE:
            return Unreadable(f"it has {status.st_size} bytes, more than {LARGEST_FILE}")
        return path.read_bytes()
    except OSError as error:
        return Unreadable(reason(error))
