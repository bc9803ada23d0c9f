"""Section `benchmark`: which policies are timed against the full network, and how."""

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from offramp.project.sections import PositiveInt, Section, must_be, no_repeats

Names = Annotated[
    list[str],
    Field(min_length=1),
    AfterValidator(no_repeats),
    must_be("a non-empty list of names of policies without repeats, like [selected, 'cutoff@0.6']"),
]
DEFAULT_POLICIES = ["selected", "cutoff@0.6"]


class BenchmarkedPolicies(BaseModel):
    """Of `benchmark`, the policies alone: what metrics/deployed.json holds beside the selected one."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)
    policies: Names = DEFAULT_POLICIES


class Benchmark(Section):
    """`benchmark`: the engine, the batch sizes, the rounds, the images, and the policies beside the full network."""

    engine: Literal["onnx", "torch"] = "onnx"
    batch_sizes: Annotated[
        list[PositiveInt],
        Field(min_length=1),
        AfterValidator(no_repeats),
    ] = [1, 64]
    repeats: PositiveInt = 5
    samples: PositiveInt = 2000
    policies: Names = DEFAULT_POLICIES


def require_known(policies: Collection[str], calibrated: Collection[str]) -> None:
    """Raise ValueError for a name that is none of `calibrated`, `selected`, `full` and `cutoff@X`."""
    for name in policies:
        if name not in {"selected", "full", *calibrated} and not _is_cutoff(name):
            raise ValueError(
                f"benchmark.policies must name policies that are calibrated ({', '.join(calibrated)}), selected, full "
                f"or cutoff@X with X nats, at least 0; got {name!r}"
            )


def _is_cutoff(name: str) -> bool:
    method, _, cutoff = name.partition("@")
    try:
        return method == "cutoff" and 0 <= float(cutoff) < float("inf")
    except ValueError:
        return False


class LatencyParams(Section):
    """`latency`: the batch sizes, and the rounds in which all parts take turns."""

    batch_sizes: Annotated[
        list[PositiveInt],
        Field(min_length=1),
        AfterValidator(no_repeats),
    ] = [1, 4, 16, 64]
    repeats: PositiveInt = 12


class Int8(Section):
    """`int8`: the tune-fold images that ranges are taken from, and what the heads calculate in."""

    images: PositiveInt = 512
    heads: Literal["int8", "float32"] = "int8"


class TimedScore(BaseModel):
    """Of `uncertainty`, the score: timing fits nothing. `offramp check params.yaml` has checked its name."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)
    score: str = "entropy"
