"""Sections of params.yaml: their schemas, and what a user reads where a value is not allowed."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, Tag, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError

from offramp.project.allowed import describe
from offramp.project.declared import PARAMS_FILE, declared_params
from offramp.project.errors import InputError
from offramp.project.yaml import read_yaml

Schema = TypeVar("Schema", bound=BaseModel)


@dataclass(frozen=True)
class InputFile:
    """Marks a parameter that names a file from outside, `Annotated[str, InputFile()]`: see `offramp.project.inputs`.

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
    def read(cls, *more: Path) -> Self:
        """Return the running stage's parameters.

        Under DVC those that the stage declares, else the whole of ./params.yaml and of the files in `more`. Raises
        InputError for anything that is not allowed.
        """
        stage = os.environ.get("DVC_STAGE")
        if stage is not None:
            return validate(cls, declared_params(stage), f"{PARAMS_FILE.name} (as {stage} declares it)")
        content: dict[str, Any] = {}
        for path in (PARAMS_FILE, *more):
            content |= read_yaml(path)
        return validate(cls, content, " or ".join(str(path) for path in (PARAMS_FILE, *more)))


class Chosen(BaseModel):
    """Of `data` or `model`, the name of the chosen one: what a stage reads that only prints it."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)
    name: str


def must_be(allowed: str) -> WrapValidator:
    """Say `must be {allowed}` of a whole value, where words made from its type and bounds would say less."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            raise PydanticCustomError("must_be", "{message}", {"message": f"must be {allowed}"}) from error

    return WrapValidator(check)


PositiveInt = Annotated[int, Field(ge=1)]
BatchSize = Annotated[int, Field(ge=1, le=1_000_000)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


def one_of(*names: str) -> WrapValidator:
    return must_be(f"one of: {', '.join(sorted(names))}")


def registered(names: Collection[str]) -> WrapValidator:
    """Validate that a value is among `names`, a registry that may still grow when the section is declared."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        if not isinstance(value, str) or value not in names:
            message = f"must be one of: {', '.join(sorted(names))}"
            raise PydanticCustomError("must_be", "{message}", {"message": message})
        return handler(value)

    return WrapValidator(check)


def registered_list(names: Collection[str]) -> WrapValidator:
    """Replace whatever is wrong inside a list by a sentence that names the registry, as it is then."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            message = f"must be a non-empty list without repeats, of: {', '.join(sorted(names))}"
            raise PydanticCustomError("must_be", "{message}", {"message": message}) from error

    return WrapValidator(check)


def no_repeats(values: Sequence[Any]) -> Sequence[Any]:
    """Validate that nothing stands twice in a list (a pydantic validator)."""
    if len(set(values)) < len(values):
        raise PydanticCustomError("must_be", "must be without repeats")
    return values


def validate(schema: type[Schema], raw: Mapping[str, Any], source: str) -> Schema:
    """Return `raw` as a `schema`, or raise InputError with one line: the key, what is allowed, the value given."""
    try:
        return schema.model_validate(raw)
    except ValidationError as error:
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise InputError(f"{describe(error, schema)}; change it in {source}{more}") from None


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


def chosen(sections: Mapping[str, Schema], name: str, key: str, group: str) -> Schema:
    """Return `sections[name]`. Raises InputError naming the known ones when `key` names another."""
    if name not in sections:
        raise unknown_name(sections, name, key, group)
    return sections[name]


def unknown_name(sections: Mapping[str, Any], name: str, key: str, group: str) -> InputError:
    known = ", ".join(sorted(sections))
    return InputError(f"{key} must be one of the keys of {group} ({known}); got {name!r}")


class Compute(Section):
    """`compute`: the device, and the CPU threads of one process (results depend on their number in the last bits)."""

    device: Annotated[
        str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$"), must_be("auto, cpu, cuda, cuda:N or mps")
    ] = "auto"
    threads: PositiveInt = 2
