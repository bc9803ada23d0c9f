"""policies.json and the costs file as a stranger may have written them: types, sizes and finite numbers, strictly.

Whatever passes here can be computed with; whether it is true is asked afterwards.
"""

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from offramp.errors import InputError
from offramp.recheck.costs_schema import CostsFile, StatedCosts, Times
from offramp.recheck.rule_schema import (
    ROUTES,
    BatchArguments,
    Count,
    Exit,
    Nonnegative,
    Number,
    RouteArguments,
    RouteName,
    Share,
    Strict,
    Threshold,
)

Temperature = Annotated[float, Field(ge=1e-6, le=1e6)]
Open = Annotated[float, Field(gt=0, lt=1)]
Score = Literal["entropy", "least_confidence", "margin", "energy", "change", "activation"]
Schema = TypeVar("Schema", bound=BaseModel)
SHOWN = 60  # characters of a wrong value that a message repeats


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


class Search(Strict):
    """What the tune fold chose a route from."""

    route: RouteName
    start: Exit | Literal["auto"]
    cuts: Annotated[int, Field(ge=2, le=1000)]
    placement: Share | None = None


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
    search: Search | None = None
    costs: StatedCosts
    declared: Count
    returned: Count
    steps: Annotated[list[Step], Field(min_length=1)]
    assumptions: list[str]


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
    rule: Literal["threshold", "batch"] | RouteName = "threshold"
    arguments: BatchArguments | None = None
    route: RouteArguments | None = None  # `arguments` in the file, where the rule is a route

    @model_validator(mode="before")
    @classmethod
    def _route_arguments(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        if given.get("rule") not in ROUTES:
            return {key: value for key, value in given.items() if key != "route"}
        return {**given, "route": given.get("arguments"), "arguments": None}

    @model_validator(mode="after")
    def _check(self) -> Self:
        name = f"policy {self.name!r:.{SHOWN}}"
        if (self.rule == "batch") != (self.arguments is not None):
            raise ValueError(f"{name}: arguments belong to rule 'batch' and to no other")
        if (self.rule in ROUTES) != (self.route is not None):
            raise ValueError(f"{name}: rule {self.rule!r} needs arguments")
        if self.rule == "batch" and self.certificate is not None:
            raise ValueError(f"{name} has rule 'batch', for which there is no certificate")
        return self


class ChangeWeights(Strict):
    weights: list[Number]
    intercept: Number


class ActivationArguments(Strict):
    """`score_arguments` of score `activation`."""

    statistic: Literal["signed_mean", "mean_abs", "mean_max", "winning_correct"]
    thresholds: dict[str, Nonnegative]


class PoliciesFile(Strict):
    schema_version: Literal[1]
    score: Score
    temperature: Annotated[dict[str, Temperature], Field(min_length=1)]
    score_arguments: ActivationArguments | dict[str, ChangeWeights] | None = None
    cost: Times | None = None
    policies: Annotated[list[Entry], Field(min_length=1)]

    @property
    def exits(self) -> list[str]:
        return list(self.temperature)

    @property
    def change(self) -> dict[str, ChangeWeights] | None:
        """Return the weights of score `change`; None under another score."""
        return self.score_arguments if isinstance(self.score_arguments, dict) else None

    @property
    def activation(self) -> ActivationArguments | None:
        return self.score_arguments if isinstance(self.score_arguments, ActivationArguments) else None

    @property
    def horizon(self) -> int:
        """Return how many rounds of the engine the routes of this file need; 0: none."""
        return max((entry.route.horizon or 0 for entry in self.policies if entry.route is not None), default=0)

    @property
    def learned(self) -> bool:
        return any(entry.rule == "learned" for entry in self.policies)

    @property
    def selected(self) -> Entry:
        return next(entry for entry in self.policies if entry.selected)

    @model_validator(mode="after")
    def _check(self) -> Self:
        exits = [f"exit_{number}" for number in range(1, len(self.temperature) + 1)]
        if self.exits != exits:
            raise ValueError("temperature must name exit_1 … exit_E in order")
        self._check_score(exits)
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
            self._check_route(entry, [entry.thresholds[name] for name in exits[:-1]])
            if entry.arguments is not None and any(limit != entry.arguments.tolerance for limit in side):
                raise ValueError(f"policy {entry.name!r:.{SHOWN}}: thresholds of rule 'batch' must be its tolerance")
        return self

    def _check_score(self, exits: list[str]) -> None:
        if (self.score == "change") != (self.change is not None):
            raise ValueError("weights under score_arguments belong to the score 'change' and to no other")
        if (self.score == "activation") != (self.activation is not None):
            raise ValueError("statistic and thresholds under score_arguments belong to the score 'activation'")
        if self.change is not None and list(self.change) != exits[:-1]:
            raise ValueError("score_arguments must name the side exits in order")
        if self.activation is not None:
            if list(self.activation.thresholds) != exits:
                raise ValueError("thresholds of score 'activation' must name the exits in order")
            if any(value != 1 for value in self.temperature.values()):
                raise ValueError("score 'activation' takes no temperature")

    def _check_route(self, entry: Entry, side: list[Threshold]) -> None:
        if entry.route is None:
            return
        problem = entry.route.problem(entry.rule, side)
        if self.score == "change" or (entry.route.horizon is not None and self.score != "activation"):
            problem = f"rule {entry.rule!r} cannot use the score {self.score!r}"
        if problem:
            raise ValueError(f"policy {entry.name!r:.{SHOWN}}: {problem}")


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
