"""Reading and validating parameters: from params.yaml, or from DVC just what the running stage declares.

Under DVC (`DVC_STAGE` in the environment) a stage sees only the parameters that dvc.yaml lists for it, so that a
forgotten declaration is an error at once and not a stale result later.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, Tag, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError

from offramp.errors import InputError

Schema = TypeVar("Schema", bound=BaseModel)
PARAMS_FILE = Path("params.yaml")


class _YamlLoader(yaml.SafeLoader):
    """YAML 1.2 floats: PyYAML reads `1e-3` as a string, DVC and people as a number."""


_YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


@dataclass(frozen=True)
class InputFile:
    """Marks a parameter that names a file from outside, `Annotated[str, InputFile()]`: see `offramp.inputs`.

    It may name a file, a folder, of which all files count, or either.
    """

    file: bool = True
    folder: bool = False


class Section(BaseModel):
    """One section of params.yaml: unknown keys are refused, numbers are not made out of strings."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class StageParams(BaseModel):
    """What one stage reads; its fields are the sections that dvc.yaml declares for it."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="ignore", frozen=True)

    @classmethod
    def read(cls) -> Self:
        """Return the running stage's parameters.

        From DVC when DVC runs the stage, else from ./params.yaml. Raises InputError for anything that is not allowed.
        """
        stage = os.environ.get("DVC_STAGE")
        if stage is None:
            return validate(cls, read_yaml(PARAMS_FILE), PARAMS_FILE.name)
        import dvc.api  # half a second, and absent where a stage is run as a plain script

        return validate(cls, dvc.api.params_show(stages=stage), f"{PARAMS_FILE.name} (as {stage} declares it)")


def must_be(allowed: str) -> WrapValidator:
    """Replace whatever is wrong inside a value by one sentence about the whole of it: `must be {allowed}`."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            raise PydanticCustomError("must_be", "{message}", {"message": f"must be {allowed}"}) from error

    return WrapValidator(check)


PositiveInt = Annotated[int, Field(ge=1), must_be("a whole number, at least 1")]
Seed = Annotated[int, Field(ge=0, lt=2**32), must_be("a whole number from 0 to 2^32 - 1")]


def one_of(*names: str) -> WrapValidator:
    return must_be(f"one of: {', '.join(sorted(names))}")


def list_of(*names: str) -> WrapValidator:
    return must_be(f"a non-empty list without repeats, of: {', '.join(sorted(names))}")


def no_repeats(values: Sequence[Any]) -> Sequence[Any]:
    """Validate that nothing stands twice in a list (a pydantic validator)."""
    if len(set(values)) < len(values):
        raise ValueError("a value stands there twice")
    return values


def parse_yaml(text: str) -> Any:
    """Return the value that a YAML text stands for. Raises yaml.YAMLError where it is none."""
    try:
        return yaml.load(text, Loader=_YamlLoader)  # noqa: S506 (a SafeLoader)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Return a YAML file's mapping. Raises InputError where the file is missing, malformed or not a mapping."""
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"there is no {path} here ({Path.cwd()}); run from the folder that holds it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold named sections (seed, data, ...); it holds {type(content).__name__}")
    return content


def validate(schema: type[Schema], raw: Mapping[str, Any], source: str) -> Schema:
    """Return `raw` as a `schema`, or raise InputError with one line: the key, what is allowed, the value given."""
    try:
        return schema.model_validate(raw)
    except ValidationError as error:
        problems = [_describe(problem) for problem in error.errors()]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise InputError(f"{problems[0]}; change it in {source}{more}") from None


def override(raw: dict[str, Any], key: str, value: Any) -> None:
    """Set `section.key` in a mapping read from YAML. Raises InputError where a part of the key is no section."""
    *sections, last = key.split(".")
    for name in sections:
        raw = raw.setdefault(name, {})
        if not isinstance(raw, dict):
            raise InputError(f"{key}: {name} holds {raw!r} and is no section")
    raw[last] = value


def kind(name: str) -> Tag:
    """Return the tag of one kind of a section that has several; it is no part of the key in messages."""
    return Tag(f"<{name}>")


def _describe(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"] if not str(part).startswith("<"))
    try:
        given = repr(problem["input"])
    except RecursionError:
        given = "something nested too deeply"
    given = given if len(given) <= 80 else given[:77] + "..."
    match problem["type"]:
        case "missing":
            return f"{key} is missing"
        case "extra_forbidden":
            return f"{key} is not a parameter (a typing error?); got {given}"
        case "value_error":  # our own validators write the whole sentence
            return str(problem["ctx"]["error"])
        case "must_be":
            hint = (
                f" (write [{given}])" if "list" in problem["msg"] and isinstance(problem["input"], int | float) else ""
            )
            return f"{key} {problem['msg']}; got {given}{hint}"
        case _:
            return f"{key}: {problem['msg'][0].lower()}{problem['msg'][1:]}; got {given}"


def chosen(sections: Mapping[str, Schema], name: str, key: str, group: str) -> Schema:
    """Return `sections[name]`. Raises InputError naming the known ones when `key` names another."""
    if name not in sections:
        raise unknown_name(sections, name, key, group)
    return sections[name]


def unknown_name(sections: Mapping[str, Any], name: str, key: str, group: str) -> InputError:
    known = ", ".join(sorted(sections))
    return InputError(f"{key} must be one of the keys of {group} ({known}); got {name!r}")
