"""Image files as the arrays that a bundle takes.

Whatever Pillow opens is taken: the first frame, turned as EXIF says, in RGB or grey without its transparency, 16 bits
brought down to 8, and resized (bilinear, proportions not kept) where it has another size.
"""

import os
import stat
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
MODES = {1: "L", 3: "RGB"}  # channels -> Pillow's name
SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N", "I")


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
    yield from (Failure(str(error.filename), _reason(error)) for error in unreadable)


def read_image(path: str, image_shape: Sequence[int]) -> NDArray[np.uint8] | Failure:
    """Return an image file as (height, width, channels) for `image_shape` (channels, height, width)."""
    channels, height, width = image_shape
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):  # a pipe would be waited for
            return Failure(path, "it is not a file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                image = _eight_bits(ImageOps.exif_transpose(opened)).convert(MODES[channels])
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
    except Exception as error:  # decoders of broken files raise whatever they come upon
        return Failure(path, _reason(error))
    return np.asarray(image, np.uint8).reshape(height, width, channels)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return 16-bit grey as 8-bit grey, 65535 as 255 (Pillow's own conversion clips), and palettes as colours."""
    if image.mode in SIXTEEN_BIT:
        values = np.asarray(image, np.int64)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise ValueError("its pixels have more than 16 bits")
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, whose range is unknown")
    return image.convert("RGBA") if image.mode == "P" else image


def _reason(error: Exception) -> str:
    """Return one line that does not name the file again."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, UnidentifiedImageError):
        return "it is no image that Pillow knows"
    return " ".join(str(error).split()) or type(error).__name__
