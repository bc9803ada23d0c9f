"""The parameters that dvc.yaml declares for one stage: what the stage may read, and nothing else.

A stage that reads a key which its entry does not list would not run again when that key changes. Under DVC
(`DVC_STAGE` in the environment) a stage is therefore given the declared keys alone, so that a forgotten declaration is
an error at once and not a stale result later. Reading dvc.yaml here takes a tenth of the time that asking DVC does.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from offramp.project.errors import InputError
from offramp.project.yaml import read_yaml

PARAMS_FILE = Path("params.yaml")
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")


def declared_params(stage: str) -> dict[str, Any]:
    """Return what a stage declares, nested as in its files; `stage` is DVC's address, `[FOLDER/dvc.yaml:]NAME[@ITEM]`.

    Paths of parameter files start at the working directory, which is that of the stage. Raises InputError for a stage
    or a key that does not exist.
    """
    entry = _entry(stage)
    files = {PARAMS_FILE: read_yaml(PARAMS_FILE)}
    found: dict[str, Any] = {}
    for path, reference in _keys(entry.get("params", [])):
        if path not in files:
            files[path] = read_yaml(path)
        key = _REFERENCE.sub(lambda match: str(_value(files[PARAMS_FILE], match[1], stage)), reference)
        _put(found, key, _value(files[path], key, stage))
    return found


def _entry(stage: str) -> Mapping[str, Any]:
    """Return a stage's entry in its dvc.yaml; of a group, `foreach` or `matrix`, what its items share."""
    address, _, name = stage.rpartition(":")
    path, name = Path(address or "dvc.yaml"), name.partition("@")[0]
    stages = read_yaml(_here(path)).get("stages", {})
    if name not in stages:
        raise InputError(f"{path} has no stage {name!r}; DVC_STAGE is {stage!r}")
    entry: Mapping[str, Any] = stages[name]
    shared: Mapping[str, Any] = entry.get("do", entry)
    return shared


def _here(path: Path) -> Path:
    """Return where a file of the checkout lies: DVC names it from the folder that `dvc` was called in."""
    return path if path.exists() else Path(*path.parts[path.parts.index("..") + 1 :]) if ".." in path.parts else path


def _keys(declared: list[Any]) -> Iterator[tuple[Path, str]]:
    """Yield every declared key with its file; an entry of dvc.yaml is a key of params.yaml or {FILE: [KEY, ...]}."""
    for item in declared:
        if isinstance(item, str):
            yield PARAMS_FILE, item
        else:
            for path, keys in item.items():
                yield from ((Path(path), key) for key in keys)


def _value(content: Any, key: str, stage: str) -> Any:
    for part in key.split("."):
        if not isinstance(content, dict) or part not in content:
            raise InputError(f"stage {stage} declares the parameter {key}, which does not exist")
        content = content[part]
    return content


def _put(found: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        found = found.setdefault(section, {})
    found[last] = value
