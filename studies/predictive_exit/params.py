"""Section `predictive`: routes that skip heads, compared at equal accuracy, and the device of the energy model."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from offramp.calibration.params import Horizon, Losses, Open, Statistic
from offramp.project.sections import PositiveInt, Section, no_repeats

Above = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Counts = Annotated[
    list[PositiveInt],
    Field(min_length=1),
    AfterValidator(no_repeats),
]


class Level(Section):
    """One level of a device: a frequency in MHz and the voltage in V that it needs."""

    mhz: Above
    volts: Above


class Energy(Section):
    """`predictive.energy`: the device of the energy model; the defaults are an example, its voltages assumed."""

    work: Literal["costs", "latency"] = "costs"
    macs_per_cycle: Above = 32.0
    levels: Annotated[list[Level], Field(min_length=1)] = [
        Level(mhz=216.75, volts=0.65),
        Level(mhz=522.75, volts=0.75),
        Level(mhz=854.25, volts=0.90),
        Level(mhz=1300.5, volts=1.10),
    ]
    capacitance_nf: NotNegative = 6.0
    static_w: NotNegative = 2.0
    idle_w: NotNegative = 0.5
    switch_ms: NotNegative = 0.02
    switch_mj: NotNegative = 0.02
    reserve: Annotated[float, Field(ge=0, le=1)] = 0.0

    @model_validator(mode="after")
    def _levels_ascend(self) -> Self:
        for low, high in zip(self.levels, self.levels[1:], strict=False):
            if high.mhz <= low.mhz or high.volts < low.volts:
                raise ValueError(
                    "predictive.energy.levels must ascend in mhz, and volts must not fall; got "
                    f"{low.mhz:g} MHz at {low.volts:g} V before {high.mhz:g} MHz at {high.volts:g} V"
                )
        return self


class Predictive(Section):
    """`predictive`: scores, what is tried for every route, the losses at which routes are compared."""

    statistics: Annotated[list[Statistic], Field(min_length=1), AfterValidator(no_repeats)] = [
        "signed_mean",
        "mean_max",
    ]
    max_loss: Losses = [0.005, 0.02]
    horizon: Horizon = 8
    clamp: bool = True
    starts: Counts = [1, 2, 4, 7, 10, 13]
    jumps: Counts = [1, 2, 3, 4, 5, 6, 7, 8]
    theta: Open = 0.5
    cuts: Annotated[int, Field(ge=2, le=1000)] = 50
    permutations: PositiveInt = 100
    permuted: PositiveInt = 500
    energy: Energy = Energy()

    @model_validator(mode="after")
    def _targets_have_names(self) -> Self:
        """Refuse two losses that print alike: results are filed under them."""
        names = [f"{loss:g}" for loss in self.max_loss]
        if len(set(names)) < len(names):
            raise ValueError(
                "predictive.max_loss must be numbers that differ in their first six digits, under which results are "
                f"filed; got {self.max_loss!r}"
            )
        return self


class Study(Section):
    """All of studies/predictive_exit/params.yaml."""

    predictive: Predictive = Predictive()
