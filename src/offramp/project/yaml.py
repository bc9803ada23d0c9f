"""YAML files of a checkout, read as YAML 1.2 by the parser that DVC uses, so that both see the same values.

`017` is 17, `1e-3` is a number and `yes` is a word.
"""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from offramp.project.errors import InputError

__all__ = ["YAMLError", "parse_yaml", "read_yaml"]


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML text. Raises YAMLError where it has none."""
    try:
        return YAML(typ="safe").load(text)
    except RecursionError:
        raise YAMLError("it is nested too deeply") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Return a YAML file's mapping. Raises InputError where the file is missing, malformed or not a mapping."""
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"there is no {path} here ({Path.cwd()}); run from the folder that holds it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    except (YAMLError, ValueError) as error:  # ValueError: a date that does not exist, for one
        raise InputError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold named sections (seed, data, ...); it holds {type(content).__name__}")
    return content
