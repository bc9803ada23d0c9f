"""Reading idx files and tar archives as streams: a few hundred images are in memory, nothing is written to disk."""

import gzip
import struct
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from offramp.errors import InputError
from offramp.sources.pools import Labels

BLOCK = 2**20  # bytes read at once, at least one record
LARGEST_SIDE = 4096  # pixels
LARGEST_TEXT = 2**16  # bytes


class Readable(Protocol):
    """What is read from: a file or a member of an archive."""

    def read(self, size: int, /) -> bytes: ...


@contextmanager
def broken(name: object) -> Iterator[None]:
    """Raise InputError naming the file where it is cut, damaged or of another format."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # decoders of broken files raise whatever they come upon
        raise InputError(f"{name} cannot be read: {' '.join(str(error).split()) or type(error).__name__}") from None


def members(archive: Path) -> Iterator[tuple[str, Readable]]:
    """Yield the last part of the name and the content of every file in a .tar.gz, each to be read before the next."""
    with broken(archive), tarfile.open(archive, "r|gz") as opened:
        for member in opened:
            content = opened.extractfile(member) if member.isreg() else None
            if content is not None:
                yield PurePosixPath(member.name).name, content


def blocks(content: Readable, record: int, name: str) -> Iterator[NDArray[np.uint8]]:
    """Yield records of `record` bytes, (n, record) at a time. Raises InputError where the last one is cut."""
    at_once = max(1, BLOCK // record) * record
    while read := _read(content, at_once, name):
        if len(read) % record:
            raise InputError(f"{name}: its size is no multiple of {record} bytes, so an image or label is cut")
        yield np.frombuffer(read, np.uint8).reshape(-1, record)


def words(content: Readable, name: str) -> list[str]:
    """Return the words of a small text, such as a list of class names."""
    return _read(content, LARGEST_TEXT, name).decode("utf-8", "replace").split()


def idx_labels(path: Path) -> Labels:
    """Return the labels (n,) of an idx1 file. Raises InputError where it holds more or fewer than it says."""
    with broken(path), gzip.open(path) as file:
        (count,) = _idx_header(file, path, 1)
        parts = [np.zeros(0, np.uint8), *(block[:, 0] for block in blocks(file, 1, str(path)))]
    labels: Labels = np.concatenate(parts).astype(np.int64)
    _require_count(len(labels), count, path)
    return labels


def idx_blocks(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Yield the images (n, height, width) of an idx3 file, some at a time. Raises InputError as `idx_labels` does."""
    with broken(path), gzip.open(path) as file:
        count, height, width = _idx_header(file, path, 3)
        if not (1 <= height <= LARGEST_SIDE and 1 <= width <= LARGEST_SIDE):
            raise InputError(f"{path}: images of {width}×{height} pixels; sides are from 1 to {LARGEST_SIDE}")
        found = 0
        for block in blocks(file, height * width, str(path)):
            found += len(block)
            yield block.reshape(-1, height, width)
    _require_count(found, count, path)


def _idx_header(file: BinaryIO | gzip.GzipFile, path: Path, dimensions: int) -> tuple[int, ...]:
    zero, kind, n_dimensions = struct.unpack(">HBB", file.read(4))
    if (zero, kind, n_dimensions) != (0, 8, dimensions):
        raise InputError(f"{path} is no idx{dimensions} file of bytes")
    return struct.unpack(f">{dimensions}I", file.read(4 * dimensions))


def _require_count(found: int, count: int, path: Path) -> None:
    if found != count:
        raise InputError(f"{path} says that it holds {count} items and holds {found}")


def _read(content: Readable, size: int, name: str) -> bytes:
    """Return `size` bytes, fewer only at the end: a stream may give less at once."""
    parts = []
    with broken(name):
        while size and (part := content.read(size)):
            parts.append(part)
            size -= len(part)
    return b"".join(parts)
