"""Section `latency`: how segments and heads are timed."""

from typing import Annotated

from pydantic import AfterValidator, Field

from offramp.params.reading import PositiveInt, Section, must_be, no_repeats


class LatencyParams(Section):
    """`latency`: the batch sizes, and the rounds in which all parts take turns."""

    batch_sizes: Annotated[
        list[PositiveInt],
        Field(min_length=1),
        AfterValidator(no_repeats),
        must_be("a non-empty list of whole numbers, at least 1, without repeats"),
    ] = [1, 4, 16, 64]
    repeats: PositiveInt = 12
