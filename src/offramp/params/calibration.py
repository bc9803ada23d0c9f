"""Sections `uncertainty` and `calibrate`: how policies are chosen on the validation split."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from offramp.params.reading import (
    PARAMS_FILE,
    Section,
    StageParams,
    list_of,
    must_be,
    no_repeats,
    one_of,
    override,
    read_yaml,
    validate,
)

Fraction = Annotated[float, Field(gt=0, le=1), must_be("a number in (0, 1]")]
Method = Annotated[Literal["per_exit", "shared"], one_of("per_exit", "shared")]


class Uncertainty(Section):
    """`uncertainty`: the number that is compared with a threshold."""

    score: Annotated[Literal["entropy"], one_of("entropy")] = "entropy"


class Select(Section):
    """`calibrate.select`: the policy to deploy."""

    method: Method = "shared"
    target: Fraction = 0.9


class Calibrate(Section):
    """`calibrate`: methods and targets; every method is calibrated for every target."""

    methods: Annotated[list[Method], Field(min_length=1), AfterValidator(no_repeats), list_of("per_exit", "shared")] = [
        "per_exit",
        "shared",
    ]
    targets: Annotated[
        list[Fraction],
        Field(min_length=1),
        AfterValidator(no_repeats),
        must_be("a non-empty list of numbers in (0, 1] without repeats"),
    ] = [0.80, 0.85, 0.90, 0.95, 0.98]
    select: Select = Select()

    @model_validator(mode="after")
    def _select_is_listed(self) -> Self:
        if self.select.method not in self.methods:
            raise ValueError(
                f"calibrate.select.method must be one of calibrate.methods ({', '.join(self.methods)}); "
                f"got {self.select.method!r}"
            )
        if self.select.target not in self.targets:
            listed = ", ".join(f"{target:g}" for target in self.targets)
            raise ValueError(
                f"calibrate.select.target must be one of calibrate.targets ({listed}); got {self.select.target:g}"
            )
        return self


class Calibration(StageParams):
    """What calibrating needs, and nothing of data sets or networks: also for logits of somebody else's."""

    uncertainty: Uncertainty = Uncertainty()
    calibrate: Calibrate = Calibrate()


def read_calibration(path: Path | None, overrides: dict[str, Any]) -> Calibration:
    """Return the parameters in `path`; if None, in ./params.yaml where there is one, else the documented defaults."""
    if path is None and not PARAMS_FILE.exists():
        raw: dict[str, Any] = {}
        source = "--set"
    else:
        raw, source = read_yaml(path or PARAMS_FILE), str(path or PARAMS_FILE)
    for key, value in overrides.items():
        override(raw, key, value)
    return validate(Calibration, raw, source)
