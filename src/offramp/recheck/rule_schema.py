"""`arguments` of rules in policies.json, strictly: of `batch`, and of the routes that skip heads."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0, lt=2**53)]
Number = Annotated[float, Field(ge=-1e100, le=1e100)]  # so that sums of them stay finite
Share = Annotated[float, Field(ge=0, le=1)]
Threshold = Number | Literal["inf"] | None
RouteName = Literal["every_exit", "placed", "predictive", "single_jump", "constant_jump", "random_jump", "learned"]
ROUTES: dict[str, set[str]] = {  # their arguments besides cut
    "every_exit": {"start"},
    "placed": {"exits"},
    "predictive": {"start", "horizon", "clamp"},
    "single_jump": {"start", "horizon", "clamp"},
    "constant_jump": {"start", "ahead", "clamp"},
    "random_jump": {"start", "weights", "seed", "clamp"},
    "learned": {"start", "models"},
}
Exit = Annotated[int, Field(ge=1, le=10_000)]
Nonnegative = Annotated[float, Field(ge=0, le=1e100)]


class Strict(BaseModel):
    """Numbers are not made out of strings, nor truth values out of numbers."""

    model_config = ConfigDict(strict=True, frozen=True)


class BatchArguments(Strict):
    """`arguments` of rule `batch`."""

    batch_size: Annotated[int, Field(ge=1, le=1_000_000)]
    reduce: Literal["max", "mean"]
    tolerance: Number


class StatedModel(Strict):
    """The regressions of one exit of a learned route."""

    mean: list[Number]
    spread: list[Annotated[float, Field(gt=0, le=1e100)]]
    weights: list[list[Number]]


class RouteArguments(Strict):
    """`arguments` of a route; which of them it has, ROUTES says."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")
    cut: Number
    start: Exit | None = None
    exits: list[Exit] | None = None
    horizon: Annotated[int, Field(ge=1, le=64)] | None = None
    clamp: bool | None = None
    ahead: Exit | None = None
    weights: Annotated[list[Nonnegative], Field(min_length=1)] | None = None
    seed: Count | None = None
    models: dict[str, StatedModel] | None = None
    fitted_cut: Number | None = None

    def problem(self, rule: str, side: list[Threshold]) -> str:
        """Return what is wrong with them for a rule and its thresholds at the side exits; "" where nothing is."""
        given = {name for name in self.model_fields_set if getattr(self, name) is not None} - {"fitted_cut"}
        if given != ROUTES[rule] | {"cut"}:
            return f"rule {rule!r} takes {', '.join(sorted(ROUTES[rule] | {'cut'}))}"
        exits, start = self.exits or [], self.start or 1
        if exits != sorted(set(exits)) or max([*exits, 0]) > len(side) or start > len(side) + 1:
            return f"rule {rule!r} speaks of exits that are not there, or not in order"
        looked = [number in exits if rule == "placed" else number >= start for number in range(1, len(side) + 1)]
        if side != [self.cut if looks else None for looks in looked]:
            return f"thresholds of rule {rule!r} must be its cut where it looks, null elsewhere"
        if self.weights is not None and not sum(self.weights) > 0:
            return "weights must not all be 0"
        return self._models_problem(start, len(side))

    def _models_problem(self, start: int, n_side: int) -> str:
        if self.models is None:
            return ""
        if list(self.models) != [f"exit_{number}" for number in range(start, n_side)]:
            return f"models of rule 'learned' must be of exit_{start} to exit_{n_side - 1}"
        for number, model in enumerate(self.models.values(), start=start):
            size = len(model.mean)
            widths = [1 + 2 * size] * (n_side + 1 - number)
            if len(model.spread) != size or [len(row) for row in model.weights] != widths:
                return f"the model of exit_{number} has parts of sizes that do not fit"
        return ""
