"""Files from the network, into a cache outside the pipeline: resumed where broken off, and verified.

A file is written as NAME.part, which a later run continues, and gets its name when its digest is right. One process at
a time works on a file; others wait for it.
"""

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from offramp.errors import InputError
from offramp.sources.published import PublishedFile

TIMEOUT = 30  # seconds without a byte
CHUNK = 2**18  # bytes
ATTEMPTS = 3  # in a row that bring nothing new, per address


class _BrokenOffError(Exception):
    """The connection ended early; what came is kept."""


def fetch(published: PublishedFile, folder: Path) -> Path:
    """Return the file's place in `folder`, after downloading it where it is not there yet.

    Raises InputError where it cannot be had, saying what to put where by hand, and where a digest is wrong: a file
    that is there already is left as it is, a download is removed.
    """
    path = folder / published.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / f".{published.name}.lock"):
            if not path.is_file():
                _download(published, path)
            elif (found := _md5(path)) != published.md5:
                raise InputError(
                    f"{path} is not the published file: its MD5 is {found} and should be {published.md5}; remove it, "
                    "and it is downloaded again"
                )
    except OSError as error:
        raise InputError(f"{published.name} cannot be kept in {folder}: {error}; see datasets.*.root") from None
    return path


def _download(published: PublishedFile, path: Path) -> None:
    part = path.with_name(f"{path.name}.part")
    if part.is_file() and _md5(part) == published.md5:  # complete, and the run ended before it had its name
        os.replace(part, path)
        return
    problems = []
    for url in published.urls:
        problem = _download_from(url, part)
        if problem is not None:
            if not part.stat().st_size:
                part.unlink()
            problems.append(f"{url} ({problem})")
        elif (found := _md5(part)) == published.md5:
            os.replace(part, path)
            return
        else:
            part.unlink()
            problems.append(f"{url} (what came has the MD5 {found}, and was removed)")
    raise InputError(
        f"{published.name} could not be downloaded from {' or '.join(problems)}; put the file, MD5 {published.md5}, at "
        f"{path} by hand, or set data.name to cluttered_digits, which needs no network"
    )


def _download_from(url: str, part: Path) -> str | None:
    """Complete `part`. Return None, or what went wrong: what came until then is kept."""
    attempts, problem = 0, ""
    while attempts < ATTEMPTS:
        before = part.stat().st_size if part.exists() else 0
        try:
            with part.open("ab") as file:
                _receive(url, file)
        except urllib.error.HTTPError as error:
            if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not before:
                return f"HTTP {error.code}"
            part.write_bytes(b"")  # longer than the file there, or complete and wrong
            attempts, problem = attempts + 1, f"HTTP {error.code}"
        except (_BrokenOffError, http.client.HTTPException, OSError) as error:
            problem = str(getattr(error, "reason", error)) or type(error).__name__
            attempts = attempts + 1 if part.stat().st_size <= before else 0
        else:
            return None
    return problem


def _receive(url: str, file: BinaryIO) -> None:
    """Append what `file` lacks; where the server sends all from the beginning, write that instead."""
    held = file.seek(0, os.SEEK_END)
    request = urllib.request.Request(url, headers={"Range": f"bytes={held}-"} if held else {})  # noqa: S310 (addresses of the table)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
        total = _total(answer, held)
        if held and (answer.status != http.HTTPStatus.PARTIAL_CONTENT or total is None):
            held = 0
            file.truncate(0)
            total = _total(answer, held)
        with tqdm(
            desc=Path(url).name, total=total, initial=held, unit="B", unit_scale=True, disable=None, leave=False
        ) as progress:
            while chunk := answer.read(CHUNK):
                held += file.write(chunk)
                progress.update(len(chunk))
    if total is not None and held < total:
        raise _BrokenOffError(f"broken off after {held} of {total} bytes")


def _total(answer: http.client.HTTPResponse, held: int) -> int | None:
    """Return the whole file's size as the server states it; None where it does not, or answers another range."""
    if answer.status == http.HTTPStatus.PARTIAL_CONTENT:
        stated = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
        return int(stated[2]) if stated and int(stated[1]) == held else None
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that ends with the process. Where the system has no such locks, two runs must not overlap."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
