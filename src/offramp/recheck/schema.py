"""policies.json and the costs file as a stranger may have written them: types, sizes and finite numbers, strictly.

Whatever passes here can be computed with; whether it is true is asked afterwards.
"""

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from offramp.errors import InputError

Count = Annotated[int, Field(ge=0, lt=2**53)]
Number = Annotated[float, Field(ge=-1e100, le=1e100)]  # so that sums of them stay finite
Temperature = Annotated[float, Field(ge=1e-6, le=1e6)]
Cost = Annotated[float, Field(ge=0, le=1e100)]
FullCost = Annotated[float, Field(ge=1e-100, le=1e100)]
Share = Annotated[float, Field(ge=0, le=1)]
Open = Annotated[float, Field(gt=0, lt=1)]
Threshold = Number | Literal["inf"] | None
Score = Literal["entropy", "least_confidence", "margin", "energy", "change"]
Schema = TypeVar("Schema", bound=BaseModel)
SHOWN = 60  # characters of a wrong value that a message repeats


class Strict(BaseModel):
    """Numbers are not made out of strings, nor truth values out of numbers."""

    model_config = ConfigDict(strict=True, frozen=True)


class Step(Strict):
    """One tested candidate; its counts are all other keys."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow")
    __pydantic_extra__: dict[str, Count] = Field(init=False)
    thresholds: list[Threshold]
    p_value: Share

    @property
    def counts(self) -> dict[str, int]:
        return dict(self.__pydantic_extra__)


class Fold(Strict):
    rows: Count
    sha256: str


class Folds(Strict):
    fold_seed: Count
    tune_fraction: Open
    tune: Fold
    certify: Fold


class StatedCosts(Strict):
    """Costs of segments and heads, or what a sample pays up to each exit; `full`: the network without side exits.

    In MACs, or in ms where `unit` says so.
    """

    unit: Literal["ms"] | None = None
    full: FullCost
    segment: list[Cost] | None = None
    head: list[Cost] | None = None
    cumulative: list[Cost] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        parts = self.segment is not None and self.head is not None and len(self.segment) == len(self.head)
        if not parts and self.cumulative is None:
            raise ValueError("costs need segment and head of equal length, or cumulative")
        return self


class Certificate(Strict):
    statement: str
    hypothesis: str
    test: str
    n: Count
    delta: Open
    level: Open
    looks: Annotated[Count, Field(ge=1)]
    several: str
    labels_used: Count
    folds: Folds
    family: str
    without_dear_exits: bool = False
    costs: StatedCosts
    declared: Count
    returned: Count
    steps: Annotated[list[Step], Field(min_length=1)]
    assumptions: list[str]


class BatchArguments(Strict):
    """`arguments` of rule `batch`."""

    batch_size: Annotated[int, Field(ge=1, le=1_000_000)]
    reduce: Literal["max", "mean"]
    tolerance: Number


class Entry(Strict):
    """One policy; another rule, or a score of its own, is not understood here."""

    name: str
    method: str
    target: Number
    thresholds: dict[str, Threshold]
    feasible: bool
    selected: bool
    validation: dict[str, Any] = {}
    certificate: Certificate | None = None
    score: None = None
    temperature: None = None
    rule: Literal["threshold", "batch"] = "threshold"
    arguments: BatchArguments | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        name = f"policy {self.name!r:.{SHOWN}}"
        if (self.rule == "batch") != (self.arguments is not None):
            raise ValueError(f"{name}: arguments belong to rule 'batch' and to no other")
        if self.rule == "batch" and self.certificate is not None:
            raise ValueError(f"{name} has rule 'batch', for which there is no certificate")
        return self


class ChangeWeights(Strict):
    weights: list[Number]
    intercept: Number


class CostsRow(Strict):
    segment: Cost | None = None
    head: Cost | None = None
    cumulative: Cost | None = None


class CostsFile(Strict):
    """A table of costs; `full` may be missing where every exit has segment and head."""

    unit: Literal["macs", "ms"]
    exits: Annotated[dict[str, CostsRow], Field(min_length=1)]
    full: FullCost | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = {f"exit_{number}" for number in range(1, len(self.exits) + 1)}
        if set(self.exits) != names:
            raise ValueError("exits must be exit_1 … exit_E")
        rows = self.exits.values()
        parts = all(row.segment is not None and row.head is not None for row in rows)
        if not parts and (self.full is None or any(row.cumulative is None for row in rows)):
            raise ValueError("every exit needs segment and head, or every exit cumulative and the table full")
        return self

    def stated(self) -> StatedCosts:
        """Return these costs as a certificate would state them."""
        rows = [self.exits[f"exit_{number}"] for number in range(1, len(self.exits) + 1)]
        segment = [row.segment for row in rows if row.segment is not None]
        head = [row.head for row in rows if row.head is not None]
        unit: Literal["ms"] | None = "ms" if self.unit == "ms" else None
        if len(segment) == len(head) == len(rows):
            return StatedCosts(unit=unit, full=sum(segment) + head[-1], segment=segment, head=head)
        assert self.full is not None, "a table has parts or full"
        cumulative = [row.cumulative for row in rows if row.cumulative is not None]
        return StatedCosts(unit=unit, full=self.full, cumulative=cumulative)


class Times(CostsFile):
    """`cost` of policies.json: the times that calibration minimised, and which row of latency.json they are."""

    unit: Literal["ms"]
    engine: str = ""
    batch_size: Count = 0

    @property
    def row(self) -> str:
        return f"{self.engine}, batch {self.batch_size}"


class PoliciesFile(Strict):
    schema_version: Literal[1]
    score: Score
    temperature: Annotated[dict[str, Temperature], Field(min_length=1)]
    score_arguments: dict[str, ChangeWeights] | None = None
    cost: Times | None = None
    policies: Annotated[list[Entry], Field(min_length=1)]

    @property
    def exits(self) -> list[str]:
        return list(self.temperature)

    @property
    def selected(self) -> Entry:
        return next(entry for entry in self.policies if entry.selected)

    @model_validator(mode="after")
    def _check(self) -> Self:
        exits = [f"exit_{number}" for number in range(1, len(self.temperature) + 1)]
        if self.exits != exits:
            raise ValueError("temperature must name exit_1 … exit_E in order")
        if (self.score == "change") != (self.score_arguments is not None):
            raise ValueError("score_arguments belong to the score 'change' and to no other")
        if self.score_arguments is not None and list(self.score_arguments) != exits[:-1]:
            raise ValueError("score_arguments must name the side exits in order")
        if self.cost is not None and len(self.cost.exits) != len(exits):
            raise ValueError(f"cost has {len(self.cost.exits)} exits, the policies have {len(exits)}")
        if sum(entry.selected for entry in self.policies) != 1:
            raise ValueError("exactly one policy must be selected")
        for entry in self.policies:
            if sorted(entry.thresholds) != sorted(exits):
                raise ValueError(f"policy {entry.name!r:.{SHOWN}} must have a threshold for each of {', '.join(exits)}")
            if entry.thresholds[exits[-1]] != "inf":
                raise ValueError(f'policy {entry.name!r:.{SHOWN}}: the threshold of the last exit must be "inf"')
            side = [entry.thresholds[name] for name in exits[:-1] if entry.thresholds[name] is not None]
            if entry.arguments is not None and any(limit != entry.arguments.tolerance for limit in side):
                raise ValueError(f"policy {entry.name!r:.{SHOWN}}: thresholds of rule 'batch' must be its tolerance")
        return self


def read_policies_file(path: Path) -> PoliciesFile:
    return _parse(PoliciesFile, _load(path), path)


def read_costs_file(path: Path, times: Times | None) -> StatedCosts:
    """Return the costs in a file; of a latency file those of the row that `times` names, None for policies in MACs.

    Raises InputError, besides for a broken file, where its unit is not that of the policies.
    """
    raw = _load(path)
    if isinstance(raw, dict) and raw.get("unit") == "ms" and "exits" not in raw and times is not None:
        batches = raw.get(times.engine)
        table = batches.get(f"batch_{times.batch_size}") if isinstance(batches, dict) else None
        if not isinstance(table, dict):
            raise InputError(f"{path} has no times of {times.row!r:.{SHOWN}}, for which the policies were calibrated")
        raw = {**table, "unit": "ms"}
    unit = raw.get("unit") if isinstance(raw, dict) else None
    expected = "macs" if times is None else "ms"
    if unit in ("macs", "ms") and unit != expected:
        raise InputError(f"{path} holds costs in {unit}; the policies were calibrated for {expected}")
    return _parse(CostsFile, raw, path).stated()


def finite(thresholds: list[Threshold]) -> tuple[float | None, ...]:
    """Return thresholds (exits,) as numbers: "inf" as infinity, None for a disabled exit."""
    return tuple(math.inf if threshold == "inf" else threshold for threshold in thresholds)


def _load(path: Path) -> object:
    """Return what a JSON file holds. Raises InputError where it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not readable JSON: {_one_line(str(error))}") from None


def _parse(schema: type[Schema], raw: object, path: Path) -> Schema:
    """Return a value as a `schema`. Raises InputError, one line that names the entry."""
    try:
        return schema.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        given = "" if isinstance(first["input"], dict) else f"; it is {_shown(first['input'])}"
        message = _one_line(first["msg"].removeprefix("Value error, "))
        raise InputError(_one_line(f"{path}: {where + ': ' if where else ''}{message}{given}")) from None


def _shown(value: object) -> str:
    try:
        return f"{value!r:.{SHOWN}}"
    except RecursionError:
        return "nested too deeply"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _one_line(text: str) -> str:
    return " ".join(text.split())
