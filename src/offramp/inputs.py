"""The files outside the repository that the chosen data set and model name, and their digests.

DVC cannot declare them as dependencies, because params.yaml names them. So a stage that always runs writes
data/inputs.json, and what reads such files depends on that. A file is digested once and remembered by path, size and
modification time.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel

from offramp.errors import InputError
from offramp.files import sha256, write_json
from offramp.params.reading import InputFile

Memory = dict[str, dict[str, int | str]]


def named_files(*sections: BaseModel) -> Iterator[tuple[str, Path]]:
    """Yield the parameter's name and the path of every `InputFile` that is set in these sections."""
    for section in sections:
        for name, about in type(section).model_fields.items():
            value = getattr(section, name)
            if value is not None and any(isinstance(mark, InputFile) for mark in about.metadata):
                yield name, Path(value).expanduser()


def require_files(files: Iterable[tuple[str, Path]]) -> None:
    """Raise InputError for the first of these files that is missing."""
    for name, path in files:
        if not path.is_file():
            raise InputError(f"{name} names {path}, which is not a file here ({Path.cwd()}); change it in params.yaml")


def write_inputs(path: Path, memory_path: Path, files: Iterable[tuple[str, Path]]) -> dict[str, str]:
    """Write the digest of every file under its path; return them. Raises InputError for a missing file."""
    files = list(files)
    require_files(files)
    memory = _recall(memory_path)
    digests = {str(file): _digest(file, memory) for _, file in sorted(files, key=lambda named: str(named[1]))}
    write_json(path, {"files": digests})
    write_json(memory_path, memory)
    return digests


def _digest(path: Path, memory: Memory) -> str:
    status = path.stat()
    seen = memory.get(str(path.resolve()), {})
    if (seen.get("size"), seen.get("mtime_ns")) != (status.st_size, status.st_mtime_ns):
        seen = {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": sha256(path)}
        memory[str(path.resolve())] = seen
    return str(seen["sha256"])


def _recall(path: Path) -> Memory:
    try:
        memory: Memory = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no memory or a damaged one only costs a second reading
        return {}
    return memory
