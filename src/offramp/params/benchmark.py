"""Section `benchmark`: which policies are timed against the full network, and how."""

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from offramp.params.reading import PositiveInt, Section, must_be, no_repeats, one_of


class Benchmark(Section):
    """`benchmark`: the engine, the batch sizes, the rounds, the images, and the policies beside the full network."""

    engine: Annotated[Literal["onnx", "torch"], one_of("onnx", "torch")] = "onnx"
    batch_sizes: Annotated[
        list[PositiveInt],
        Field(min_length=1),
        AfterValidator(no_repeats),
        must_be("a non-empty list of whole numbers, at least 1, without repeats"),
    ] = [1, 64]
    repeats: PositiveInt = 5
    samples: PositiveInt = 2000
    policies: Annotated[
        list[str],
        Field(min_length=1),
        AfterValidator(no_repeats),
        must_be("a non-empty list of names of policies without repeats, like [selected, 'cutoff@0.6']"),
    ] = ["selected", "cutoff@0.6"]


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
