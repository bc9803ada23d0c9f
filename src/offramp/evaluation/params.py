"""Section `sweep`: one shared entropy cutoff, of samples and of whole batches, swept over its whole range."""

from typing import Annotated

from pydantic import Field

from offramp.project.sections import BatchSize, Section


class Sweep(Section):
    """`sweep`: the number of cutoffs from 0 to ln(classes), the one reported in detail, and the batches."""

    cutoffs: Annotated[int, Field(ge=2, le=100_000)] = 100
    cutoff: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.6
    batch_size: BatchSize = 64
