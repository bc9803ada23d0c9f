"""Section `sweep`: one shared entropy cutoff, of samples and of whole batches, swept over its whole range."""

from typing import Annotated

from pydantic import Field

from offramp.params.reading import Section, must_be

BatchSize = Annotated[int, Field(ge=1, le=1_000_000), must_be("a whole number from 1 to 1000000")]


class Sweep(Section):
    """`sweep`: the number of cutoffs from 0 to ln(classes), the one reported in detail, and the batches."""

    cutoffs: Annotated[int, Field(ge=2, le=100_000), must_be("a whole number from 2 to 100000")] = 100
    cutoff: Annotated[float, Field(ge=0, allow_inf_nan=False), must_be("a number of nats, at least 0")] = 0.6
    batch_size: BatchSize = 64
