"""The files outside the repository that the chosen data set and model name, and their digests.

DVC cannot declare them as dependencies, because params.yaml names them. So a stage that always runs writes
data/inputs.json, and what reads such files depends on that. A file is digested once and remembered by path, size and
modification time; a folder by those of all files in it, so that an unchanged one costs a listing.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel

from offramp.project.errors import InputError
from offramp.project.files import sha256, write_json
from offramp.project.sections import InputFile

Memory = dict[str, dict[str, int | str]]


class NamedFile(NamedTuple):
    """A parameter's name, the path that it holds, and whether that may be a file, a folder or either."""

    name: str
    path: Path
    kind: InputFile


def named_files(*sections: BaseModel) -> Iterator[NamedFile]:
    """Yield every parameter of these sections that names a file or folder, `InputFile`, and is set."""
    for section in sections:
        for name, about in type(section).model_fields.items():
            value = getattr(section, name)
            marks = [mark for mark in about.metadata if isinstance(mark, InputFile)]
            if value is not None and marks:
                yield NamedFile(name, Path(value).expanduser(), marks[0])


def require_files(files: Iterable[NamedFile]) -> None:
    """Raise InputError for the first of these that is missing or, a folder in place of a file, the wrong thing."""
    for name, path, kind in files:
        if not ((kind.file and path.is_file()) or (kind.folder and path.is_dir())):
            wanted = " or ".join(["a file"] * kind.file + ["a folder"] * kind.folder)
            raise InputError(
                f"{name} names {path}, which is not {wanted} here ({Path.cwd()}); change it in params.yaml"
            )


def write_inputs(path: Path, memory_path: Path, files: Iterable[NamedFile]) -> dict[str, str]:
    """Write the digest of every file and folder under its path; return them. Raises InputError for a missing one."""
    files = list(files)
    require_files(files)
    memory = _recall(memory_path)
    digests = {str(file.path): _digest(file.path, memory) for file in sorted(files, key=lambda file: str(file.path))}
    write_json(path, {"files": digests})
    write_json(memory_path, memory)
    return digests


def _digest(path: Path, memory: Memory) -> str:
    key = str(path.resolve())
    if path.is_dir():
        fingerprint: dict[str, int | str] = {"listing": _listing(path)}
    else:
        status = path.stat()
        fingerprint = {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
    seen = memory.get(key, {})
    if {name: value for name, value in seen.items() if name != "sha256"} != fingerprint:
        seen = fingerprint | {"sha256": _folder_sha256(path) if path.is_dir() else sha256(path)}
        memory[key] = seen
    return str(seen["sha256"])


def _listing(folder: Path) -> str:
    """Return a digest of the names, sizes and modification times of all files in a folder."""
    digest = hashlib.sha256()
    for name, path in _files(folder):
        status = path.stat()
        digest.update(name + b"\0%d %d\n" % (status.st_size, status.st_mtime_ns))
    return digest.hexdigest()


def _folder_sha256(folder: Path) -> str:
    """Return a digest of the names and contents of all files in a folder."""
    digest = hashlib.sha256()
    for name, path in _files(folder):
        digest.update(name + b"\0" + sha256(path).encode() + b"\n")
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[tuple[bytes, Path]]:
    """Yield the relative name and the path of every file in a folder, in a fixed order; hidden ones are passed over.

    Links to files are followed and links to folders are not, as in `offramp.data.sources.folder`.
    """
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            if not name.startswith(".") and path.is_file():
                yield os.fsencode(path.relative_to(folder)), path


def _recall(path: Path) -> Memory:
    try:
        memory = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no memory or a damaged one only costs a second reading
        return {}
    is_memory = isinstance(memory, dict) and all(isinstance(seen, dict) for seen in memory.values())
    return memory if is_memory else {}
