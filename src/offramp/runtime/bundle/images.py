"""Image files, by name or by the folder they are in, as the arrays that a bundle takes; see `offramp.data.pictures`."""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.data import pictures
from offramp.data.pictures import SUFFIXES


class Failure(NamedTuple):
    """An image that could not be predicted, or a folder without any, and why."""

    image: str
    reason: str


def find_images(given: Iterable[str | os.PathLike[str] | Failure]) -> Iterator[str | Failure]:
    """Yield files as they are and, for folders, the image files in them, sorted, subfolders after files.

    Hidden files and folders inside a folder are passed over. A folder without images, or that cannot be read, is a
    Failure; a file is looked at only when it is opened. A Failure is passed on.
    """
    for item in given:
        path = item if isinstance(item, Failure) else os.fspath(item)
        if isinstance(path, Failure) or not os.path.isdir(path):  # noqa: PTH112 (Path.is_dir raises for names that the system refuses)
            yield path
            continue
        inside = _inside(path)
        yield next(inside, Failure(path, f"there is no image in this folder ({' '.join(SUFFIXES)})"))
        yield from inside


def _inside(folder: str) -> Iterator[str | Failure]:
    unreadable: list[OSError] = []
    for place, folders, names in os.walk(folder, onerror=unreadable.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and name.lower().endswith(SUFFIXES):
                yield str(Path(place, name))
    yield from (Failure(str(error.filename), pictures.reason(error)) for error in unreadable)


def read_image(path: str, image_shape: Sequence[int]) -> NDArray[np.uint8] | Failure:
    """Return an image file as (height, width, channels) for `image_shape` (channels, height, width)."""
    channels, height, width = image_shape
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):  # a pipe would be waited for
            return Failure(path, "it is not a file")
        with pictures.bombs_refused():
            return pictures.read(path, channels, pictures.Size(width, height))
    except Exception as error:  # decoders of broken files raise whatever they come upon
        return Failure(path, pictures.reason(error))
