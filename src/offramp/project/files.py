"""Writing files so that nothing is lost or half-written, and their digests.

Files and folders are written under a temporary name in the same directory and then moved to their place: a reader sees
the old or the new one, two writers at once leave one of the two, and a killed run leaves the old one as it was. Only a
folder on a system that cannot exchange two of them is absent for a moment.
"""

import ctypes
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from offramp.project.errors import InputError

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux's renameat2


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name in the folder of `path`; the file replaces `path`, or is removed when the block fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(folder: Path, require_ours: Callable[[Path], None]) -> Iterator[Path]:
    """Yield an empty folder that replaces `folder` when the block succeeds and is removed when it fails.

    An existing folder with content must pass `require_ours`, which raises; a file is refused with InputError. Linux
    exchanges the two folders in one step; elsewhere the place is empty for a moment.
    """
    folder = folder.resolve()  # a link stays, what it points to is replaced
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder to write")
    if folder.exists() and any(folder.iterdir()):
        require_ours(folder)
    if folder == Path.cwd():
        raise InputError(f"{folder} is the folder you are in; name one to write, as in {folder / 'bundle'}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # left by a killed process with the same number
    temporary.mkdir()
    try:
        yield temporary
        if not folder.exists():
            temporary.rename(folder)
        elif not _exchange(temporary, folder):
            _one_after_the_other(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; False where the system or the file system cannot."""
    if sys.platform != "linux":
        return False
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError):  # a C library without it
        return False
    return bool(renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0)


def _one_after_the_other(new: Path, place: Path) -> None:
    old = new.with_suffix(".old.tmp")
    place.rename(old)
    try:
        new.rename(place)
    except OSError:
        old.rename(place)
        raise
    shutil.rmtree(old, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


DIGITS = 6  # significant, of fractions, times and intervals that are read and compared by people
EXACT = ("target", "threshold", "thresholds", "temperature", "cutoff", "beta", "tolerance", "mmacs")  # never rounded


def significant(value: float, digits: int = DIGITS) -> float:
    """Return a float, finite or infinite, rounded to `digits` significant digits."""
    return float(f"{value:.{digits}g}")


def rounded_values(value: Any, digits: int, exact: bool = False) -> Any:
    """Return a JSON value with its floats to `digits` significant digits, but for what stands under a key of EXACT."""
    if isinstance(value, Mapping):
        return {key: rounded_values(item, digits, exact or key in EXACT) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded_values(item, digits, exact) for item in value]
    return significant(value, digits) if isinstance(value, float) and not exact else value


def write_json(path: Path, value: Mapping[str, Any], digits: int | None = None) -> None:
    """Write `value` as JSON, keys in their given order, floats to `digits` significant digits where it is given.

    A NaN or an infinity raises: floats in our files are finite.
    """
    content = value if digits is None else rounded_values(value, digits)
    write_text(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
