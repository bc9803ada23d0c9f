"""Replacing a whole folder: built beside its place, then moved there, so that nobody sees half of one."""

import ctypes
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from offramp.errors import InputError

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux's renameat2


@contextmanager
def replacing_folder(folder: Path, require_ours: Callable[[Path], None]) -> Iterator[Path]:
    """Yield an empty folder beside `folder` that takes its place when the block succeeds and is removed when it fails.

    An existing folder with content must pass `require_ours`, which raises; a file is refused with InputError. Where the
    system can exchange two folders (Linux) one of the two always stands there; elsewhere none does for a moment.
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
    shutil.rmtree(temporary, ignore_errors=True)  # of a killed process with our number
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
