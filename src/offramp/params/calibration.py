"""Sections `uncertainty` and `calibrate`: how policies are chosen on the validation split."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from offramp.costs import ENGINES, LatencyRow
from offramp.errors import InputError
from offramp.params.reading import (
    PARAMS_FILE,
    PositiveInt,
    Section,
    Seed,
    StageParams,
    list_of,
    must_be,
    no_repeats,
    one_of,
    override,
    read_yaml,
    validate,
)
from offramp.params.sweep import BatchSize
from offramp.settings import LARGEST_HORIZON, RouteSettings, Settings

# Every method, and the list of calibrate that holds its targets.
TARGETS_OF = {
    "per_exit": "targets",
    "shared": "targets",
    "overall": "targets",
    "certified": "max_loss",
    "budget": "budgets",
    "certified_overall": "targets",
    "certified_per_exit": "targets",
    "conformal": "max_loss",
    "batch": "targets",
    "every_exit": "targets",
    "placed": "targets",
    "predictive": "targets",
    "single_jump": "targets",
    "constant_jump": "targets",
    "random_jump": "targets",
    "learned": "targets",
    "certified_every_exit": "max_loss",
    "certified_placed": "max_loss",
    "certified_predictive": "max_loss",
    "certified_single_jump": "max_loss",
    "certified_learned": "max_loss",
}
SCORES = ("entropy", "least_confidence", "margin", "energy", "change", "activation")
ROUTES = ("every_exit", "placed", "predictive", "single_jump", "constant_jump", "random_jump", "learned")
ENGINE = ("predictive", "single_jump")  # of these, the ones that forecast activations
STATISTICS = ("signed_mean", "mean_abs", "mean_max", "winning_correct")

Fraction = Annotated[float, Field(gt=0, le=1), must_be("a number in (0, 1]")]
Open = Annotated[float, Field(gt=0, lt=1), must_be("a number between 0 and 1")]
Method = Literal[
    "per_exit",
    "shared",
    "overall",
    "certified",
    "budget",
    "certified_overall",
    "certified_per_exit",
    "conformal",
    "batch",
    "every_exit",
    "placed",
    "predictive",
    "single_jump",
    "constant_jump",
    "random_jump",
    "learned",
    "certified_every_exit",
    "certified_placed",
    "certified_predictive",
    "certified_single_jump",
    "certified_learned",
]
Engine = Literal["onnx", "onnx_int8", "torch"]
Score = Literal["entropy", "least_confidence", "margin", "energy", "change", "activation"]
Statistic = Literal["signed_mean", "mean_abs", "mean_max", "winning_correct"]
Fractions = Annotated[
    list[Fraction],
    Field(min_length=1),
    AfterValidator(no_repeats),
    must_be("a non-empty list of numbers in (0, 1] without repeats"),
]
Losses = Annotated[
    list[Open],
    Field(min_length=1),
    AfterValidator(no_repeats),
    must_be("a non-empty list of numbers between 0 and 1 without repeats"),
]
Horizon = Annotated[int, Field(ge=1, le=LARGEST_HORIZON), must_be(f"a whole number from 1 to {LARGEST_HORIZON}")]


class Uncertainty(Section):
    """`uncertainty`: the number that is compared with a threshold."""

    score: Annotated[Score, one_of(*SCORES)] = "entropy"
    statistic: Annotated[Statistic, one_of(*STATISTICS)] = "mean_max"
    temperature: Annotated[Literal["none", "per_exit"], one_of("none", "per_exit")] = "none"

    @model_validator(mode="after")
    def _activation_takes_no_temperature(self) -> Self:
        if self.score == "activation" and self.temperature != "none":
            raise ValueError(
                "uncertainty.temperature must be none with the score activation, whose own number per exit does what a "
                f"temperature would; got {self.temperature!r}"
            )
        return self


class Latency(Section):
    """`calibrate.latency`: which row of latency.json is minimised where costs are times."""

    engine: Annotated[Engine, one_of(*ENGINES)] = "onnx"
    batch_size: PositiveInt = 1

    @property
    def row(self) -> LatencyRow:
        return LatencyRow(self.engine, self.batch_size)


class Batch(Section):
    """`calibrate.batch`: the batches of method batch, which leave whole."""

    batch_size: BatchSize = 64
    reduce: Annotated[Literal["max", "mean"], one_of("max", "mean")] = "max"


class Predictive(Section):
    """`calibrate.predictive`: routes that skip heads; `start` counts exits from 1."""

    start: Annotated[Literal["auto"] | PositiveInt, must_be("auto or an exit, a whole number from 1")] = "auto"
    horizon: Horizon = 8
    clamp: Annotated[bool, must_be("true or false")] = True
    placement: Annotated[float, Field(ge=0, le=1), must_be("a number in [0, 1]")] = 0.5
    jump: PositiveInt = 2
    cuts: Annotated[int, Field(ge=2, le=1000), must_be("a whole number from 2 to 1000")] = 100

    def settings(self) -> RouteSettings:
        start = None if self.start == "auto" else self.start - 1
        return RouteSettings(start, self.horizon, self.clamp, self.placement, self.jump, self.cuts)


class Select(Section):
    """`calibrate.select`: the policy to deploy."""

    method: Annotated[Method, one_of(*TARGETS_OF)] = "certified"
    target: Fraction = 0.01


class Calibrate(Section):
    """`calibrate`: methods and targets; every method is calibrated for every target of its list."""

    methods: Annotated[list[Method], Field(min_length=1), AfterValidator(no_repeats), list_of(*TARGETS_OF)] = [
        "per_exit",
        "shared",
        "overall",
        "certified",
        "budget",
    ]
    targets: Fractions = [0.80, 0.85, 0.90, 0.95, 0.98]
    max_loss: Losses = [0.005, 0.01, 0.02]
    budgets: Fractions = [0.3, 0.5, 0.7]
    delta: Annotated[float, Field(ge=0.001, lt=1), must_be("a number from 0.001 to below 1")] = 0.1
    simultaneous: Annotated[bool, must_be("true or false")] = False
    tune_fraction: Open = 0.2
    fold_seed: Seed = 17
    family: Annotated[Literal["equal_change", "geometric"], one_of("equal_change", "geometric")] = "equal_change"
    test: Annotated[Literal["score", "difference"], one_of("score", "difference")] = "score"
    conformal: Annotated[Literal["mean", "running_max"], one_of("mean", "running_max")] = "mean"
    cost: Annotated[Literal["costs", "latency"], one_of("costs", "latency")] = "costs"
    latency: Latency = Latency()
    batch: Batch = Batch()
    predictive: Predictive = Predictive()
    select: Select = Select()

    @model_validator(mode="after")
    def _targets_have_names(self) -> Self:
        """Refuse two targets that print alike: a policy is called after its target."""
        for key in dict.fromkeys(TARGETS_OF.values()):
            named: dict[str, float] = {}
            for target in getattr(self, key):
                other = named.setdefault(f"{target:g}", target)
                if other != target:
                    raise ValueError(
                        f"calibrate.{key} must be numbers that differ in their first six digits, after which policies "
                        f"are named; got {other!r} and {target!r}, both {target:g}"
                    )
        return self

    @model_validator(mode="after")
    def _select_is_listed(self) -> Self:
        if self.select.method not in self.methods:
            raise ValueError(
                f"calibrate.select.method must be one of calibrate.methods ({', '.join(self.methods)}); "
                f"got {self.select.method!r}"
            )
        key, targets = TARGETS_OF[self.select.method], self.targets_of(self.select.method)
        if self.select.target not in targets:
            listed = ", ".join(f"{target:g}" for target in targets)
            raise ValueError(
                f"calibrate.select.target must be one of calibrate.{key} ({listed}), the targets of method "
                f"{self.select.method}; got {self.select.target:g}"
            )
        return self

    def targets_of(self, method: str) -> list[float]:
        targets: list[float] = getattr(self, TARGETS_OF[method])
        return targets


class Calibration(StageParams):
    """What calibrating needs, and nothing of data sets or networks: also for logits of somebody else's."""

    uncertainty: Uncertainty = Uncertainty()
    calibrate: Calibrate = Calibrate()

    @model_validator(mode="after")
    def _routes_have_their_score(self) -> Self:
        for method in self.calibrate.methods:
            name = method.removeprefix("certified_")
            if name in ROUTES and self.uncertainty.score == "change":
                raise ValueError(
                    f"uncertainty.score must not be change where calibrate.methods has {method}: it skips heads, and "
                    "that score needs all of them"
                )
            if name in ENGINE and self.uncertainty.score != "activation":
                raise ValueError(
                    f"uncertainty.score must be activation where calibrate.methods has {method}, which forecasts "
                    f"activations; got {self.uncertainty.score!r}"
                )
        return self

    def settings(self) -> Settings:
        chosen = self.calibrate
        return Settings(
            wanted=[(method, target) for method in chosen.methods for target in chosen.targets_of(method)],
            selected=(chosen.select.method, chosen.select.target),
            score=self.uncertainty.score,
            temperature=self.uncertainty.temperature,
            delta=chosen.delta,
            tune_fraction=chosen.tune_fraction,
            fold_seed=chosen.fold_seed,
            family=chosen.family,
            test=chosen.test,
            simultaneous=chosen.simultaneous,
            conformal=chosen.conformal,
            batch_size=chosen.batch.batch_size,
            batch_reduce=chosen.batch.reduce,
            statistic=self.uncertainty.statistic,
            predictive=chosen.predictive.settings(),
        )


def read_calibration(path: Path | None, overrides: dict[str, Any]) -> Calibration:
    """Return the parameters in `path`; if None, in ./params.yaml where there is one, else the documented defaults."""
    if path is None and not PARAMS_FILE.exists():
        raw: dict[str, Any] = {}
        source = "--set"
    else:
        raw, source = read_yaml(path or PARAMS_FILE), str(path or PARAMS_FILE)
    for key, value in overrides.items():
        if key.split(".")[0] not in Calibration.model_fields:
            raise InputError(f"--set takes keys of calibrate and uncertainty, like calibrate.delta; got {key!r}")
        override(raw, key, value)
    return validate(Calibration, raw, source)
