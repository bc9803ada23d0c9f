"""Encoded pictures as arrays: one way for the `prepare` stage, for prepared files and for `offramp predict`.

The first frame is taken, turned as EXIF says, in RGB or grey without its transparency, 16 bits brought down to 8, and
resized (bilinear, proportions not kept) where another size is wanted. Only common raster formats are decoded: some of
Pillow's others start programs. A picture of more pixels than Pillow's limit is refused before it is decoded.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")  # Pillow's names
MODES = {1: "L", 3: "RGB"}  # channels -> Pillow's name
SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N", "I")
PNG_EFFORT = 1  # zlib level: small noisy images hardly shrink further

Pixels = NDArray[np.uint8]  # (height, width) or (height, width, channels)


class Size(NamedTuple):
    """Pixels. Pillow counts in this order, arrays in the other."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}×{self.height}"


class Encoded(NamedTuple):
    """An image file's content and the size of what it decodes to."""

    content: bytes
    size: Size


@contextmanager
def bombs_refused() -> Iterator[None]:
    """Raise instead of warning where a picture has more pixels than Pillow's limit; not for use in two threads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def read(file: str | BinaryIO, channels: int, size: Size) -> Pixels:
    """Return a picture as (height, width, channels), resized where it has another size.

    Raises whatever a decoder of a broken file comes upon; `reason` puts it in words. See `bombs_refused`.
    """
    with Image.open(file, formats=FORMATS) as opened:
        image = _resized(_converted(opened, channels), size)
    return np.asarray(image, np.uint8).reshape(size.height, size.width, channels)


def decode(content: bytes, channels: int, size: Size) -> Pixels:
    """Return a picture that has this size as (height, width, channels). Raises ValueError where it has another one.

    Its pixels are counted before they are decoded, so that nothing larger than expected is ever in memory.
    """
    with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
        found = Size(*opened.size)
        if found.width * found.height == size.width * size.height:
            image = _converted(opened, channels)
            found = Size(*image.size)
    if found != size:
        raise ValueError(f"it has {found} pixels and not {size}")
    return np.asarray(image, np.uint8).reshape(size.height, size.width, channels)


def fitted(content: bytes | Pixels, channels: int, size: Size | None) -> Encoded:
    """Return a picture (encoded, or an array) as a file of this size, its own size where `size` is None.

    Bytes are kept where they decode to that without a change; everything else becomes a PNG. Raises what `read` does.
    """
    if isinstance(content, np.ndarray):
        return _png(Image.fromarray(content), channels, size)
    with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
        opened.load()
        same_size = size is None or opened.size == size
        one_frame = getattr(opened, "n_frames", 1) == 1
        if same_size and one_frame and opened.mode == MODES[channels] and not _is_turned(opened):
            return Encoded(content, Size(*opened.size))
        opened.seek(0)
        return _png(_converted(opened, channels), channels, size)


def encode(pixels: Pixels) -> bytes:
    """Return an array (height, width, channels), one channel or three, as a PNG."""
    return _encode(Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels))


def reason(error: Exception) -> str:
    """Return in one line, which does not name the file, why a picture could not be read."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, UnidentifiedImageError):
        return f"it is no image in a known format ({', '.join(FORMATS)})"
    return " ".join(str(error).split()) or type(error).__name__


def _png(image: Image.Image, channels: int, size: Size | None) -> Encoded:
    image = image.convert(MODES[channels])
    image = image if size is None else _resized(image, size)
    return Encoded(_encode(image), Size(*image.size))


def _encode(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=PNG_EFFORT)
    return file.getvalue()


def _resized(image: Image.Image, size: Size) -> Image.Image:
    return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)


def _converted(opened: Image.Image, channels: int) -> Image.Image:
    opened.load()
    if _is_turned(opened):
        opened = ImageOps.exif_transpose(opened)
    return opened if opened.mode == MODES[channels] else _eight_bits(opened).convert(MODES[channels])


def _is_turned(opened: Image.Image) -> bool:
    return opened.getexif().get(ExifTags.Base.Orientation, 1) != 1


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
