"""Sections `uncertainty` and `calibrate`: how policies are chosen on the validation split."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from offramp.calibration.certificates.chains import FAMILIES
from offramp.calibration.settings import RouteSettings, Settings
from offramp.policies.costs import ENGINES, LatencyRow
from offramp.policies.methods import METHODS
from offramp.policies.routes.smoothing import LARGEST_HORIZON
from offramp.policies.rules import REDUCE
from offramp.project.declared import PARAMS_FILE
from offramp.project.errors import InputError
from offramp.project.sections import (
    BatchSize,
    PositiveInt,
    Section,
    Seed,
    StageParams,
    must_be,
    no_repeats,
    one_of,
    override,
    registered,
    registered_list,
    validate,
)
from offramp.project.yaml import read_yaml
from offramp.scores.activation import ACTIVATION, STATISTICS
from offramp.scores.registry import SCORES

Fraction = Annotated[float, Field(gt=0, le=1), must_be("a number in (0, 1]")]
Open = Annotated[float, Field(gt=0, lt=1), must_be("a number between 0 and 1")]
Method = Annotated[str, registered(METHODS)]
Engine = Literal["onnx", "onnx_int8", "torch"]
Score = Annotated[str, registered(SCORES)]
Statistic = Annotated[str, registered(STATISTICS)]
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

    score: Score = "entropy"
    statistic: Statistic = "mean_max"
    temperature: Annotated[Literal["none", "per_exit"], one_of("none", "per_exit")] = "none"

    @model_validator(mode="after")
    def _score_takes_a_temperature(self) -> Self:
        if self.temperature != "none" and not SCORES[self.score].takes_temperature:
            raise ValueError(
                f"uncertainty.temperature must be none with the score {self.score}, whose own number per exit does "
                f"what a temperature would; got {self.temperature!r}"
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
    reduce: Annotated[str, registered(REDUCE)] = "max"


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

    method: Method = "certified"
    target: Fraction = 0.01


COPIED = ("delta", "tune_fraction", "fold_seed", "family", "test", "simultaneous", "conformal")  # as they are


class Calibrate(Section):
    """`calibrate`: methods and targets; every method is calibrated for every target of its list."""

    methods: Annotated[list[Method], Field(min_length=1), AfterValidator(no_repeats), registered_list(METHODS)] = [
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
    family: Annotated[str, registered(FAMILIES)] = "equal_change"
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
        for key in dict.fromkeys(method.targets for method in METHODS.values()):
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
        key, targets = METHODS[self.select.method].targets, self.targets_of(self.select.method)
        if self.select.target not in targets:
            listed = ", ".join(f"{target:g}" for target in targets)
            raise ValueError(
                f"calibrate.select.target must be one of calibrate.{key} ({listed}), the targets of method "
                f"{self.select.method}; got {self.select.target:g}"
            )
        return self

    def targets_of(self, method: str) -> list[float]:
        targets: list[float] = getattr(self, METHODS[method].targets)
        return targets


class Calibration(StageParams):
    """What calibrating needs, and nothing of data sets or networks: also for logits of somebody else's."""

    uncertainty: Uncertainty = Uncertainty()
    calibrate: Calibrate = Calibrate()

    @model_validator(mode="after")
    def _routes_have_their_score(self) -> Self:
        score = SCORES[self.uncertainty.score]
        for method in map(METHODS.__getitem__, self.calibrate.methods):
            if method.route is not None and score.compares_exits:
                raise ValueError(
                    f"uncertainty.score must not be {score.name} where calibrate.methods has {method.name}: it skips "
                    "heads, and that score needs all of them"
                )
            if method.smooths and score.name != ACTIVATION:
                raise ValueError(
                    f"uncertainty.score must be {ACTIVATION} where calibrate.methods has {method.name}, which "
                    f"forecasts activations; got {score.name!r}"
                )
        return self

    def settings(self) -> Settings:
        chosen = self.calibrate
        return Settings(
            wanted=[(method, target) for method in chosen.methods for target in chosen.targets_of(method)],
            selected=(chosen.select.method, chosen.select.target),
            score=self.uncertainty.score,
            temperature=self.uncertainty.temperature,
            **{name: getattr(chosen, name) for name in COPIED},
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
