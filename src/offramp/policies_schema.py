"""policies.json as it stands in the file: what must be there, of which kind. `offramp.policies` reads it."""

from math import inf
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from offramp.costs import LARGEST, MS, RATIOS, costs_from_json
from offramp.predictive.rules import RouteRule
from offramp.rules import Batch, rule_from_json
from offramp.scoring import Scoring


class Certificate(BaseModel):
    """What is shown of a certificate; `offramp.recheck` reads all of it."""

    model_config = ConfigDict(strict=True, extra="allow")
    returned: Annotated[int, Field(ge=1)]
    declared: int
    labels_used: int
    steps: Annotated[list[dict[str, Any]], Field(min_length=1)]


class Entry(BaseModel):
    """One policy as it stands in the file."""

    model_config = ConfigDict(strict=True)
    name: str
    method: str
    target: float
    thresholds: dict[str, Annotated[float, Field(allow_inf_nan=False)] | Literal["inf"] | None]
    feasible: bool
    selected: bool
    validation: dict[str, Any] = {}
    reason: str = ""
    nearest: float | None = None
    certificate: Certificate | None = None
    expectation: dict[str, Any] | None = None
    labels_needed: int | None = None
    score: str | None = None
    temperature: Any = None
    rule: str = "threshold"
    arguments: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.score is not None or self.temperature is not None:
            raise ValueError(
                f"policy {self.name!r} has a score or temperature of its own; they stand once, for the file"
            )
        for key in ("accuracy", "loss", *RATIOS.values()):
            value = self.validation.get(key, 0.0)
            if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LARGEST:
                given = "null" if value is None else type(value).__name__ if not isinstance(value, float) else value
                raise ValueError(
                    f"policy {self.name!r}: validation.{key} must be a finite number or left out; it is {given}"
                )
        if self.certificate is not None and self.rule == Batch.name:
            raise ValueError(f"policy {self.name!r} has rule {self.rule!r}, for which there is no certificate")
        return self

    def require(self, scoring: Scoring) -> None:
        """Raise ValueError for thresholds that are not those of exits and rule, and for a score that it cannot use."""
        exits = scoring.exits
        if sorted(self.thresholds) != sorted(exits):
            raise ValueError(
                f"policy {self.name!r} must have a threshold for each of {', '.join(exits)}; "
                f"it has {', '.join(self.thresholds)}"
            )
        if self.thresholds[exits[-1]] != "inf":
            raise ValueError(f'policy {self.name!r}: the threshold of the last exit, {exits[-1]}, must be "inf"')
        limits = [self.thresholds[name] for name in exits[:-1]]
        try:
            rule = rule_from_json(self.rule, self.arguments)
            rule.check([inf if t == "inf" else t for t in limits])
            if isinstance(rule, RouteRule):
                rule.fits(scoring)
        except ValueError as error:
            raise ValueError(f"policy {self.name!r}: {error}") from None


class PoliciesFile(BaseModel):
    """policies.json."""

    model_config = ConfigDict(strict=True)
    schema_version: Literal[1]
    score: str
    temperature: Annotated[dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]], Field(min_length=1)]
    score_arguments: dict[str, Any] | None = None
    cost: dict[str, Any] | None = None
    policies: Annotated[list[Entry], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        exits = [f"exit_{number}" for number in range(1, len(self.temperature) + 1)]
        if list(self.temperature) != exits:
            raise ValueError(f"temperature must name exit_1 … exit_E in order; it names {', '.join(self.temperature)}")
        scoring = Scoring.from_json(self.score, self.temperature, self.score_arguments)
        if self.cost is not None:
            _check_cost(self.cost, exits)
        for policy in self.policies:
            policy.require(scoring)
        selected = [policy.name for policy in self.policies if policy.selected]
        if len(selected) != 1:
            raise ValueError(f"exactly one policy must be selected; {len(selected)} are: {', '.join(selected)}")
        return self


def _check_cost(cost: dict[str, Any], exits: list[str]) -> None:
    """Raise ValueError where `cost` does not hold the times of these exits."""
    try:
        costs = costs_from_json(cost)
    except (KeyError, TypeError, ValueError) as error:
        problem = f"{error.args[0]!s} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"cost must hold unit ms and each exit's segment and head: {problem}") from None
    if costs.unit != MS:
        raise ValueError(f"cost is for times: its unit must be ms, and is {costs.unit}; leave it out for MACs")
    if costs.n_exits != len(exits):
        raise ValueError(f"cost has {costs.n_exits} exits, the policies have {len(exits)}")
