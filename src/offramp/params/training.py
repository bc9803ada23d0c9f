"""Section `train`: how the network is trained."""

from typing import Annotated

from pydantic import Field

from offramp.params.reading import PositiveInt, Section, must_be


class Train(Section):
    """`train`: optimisation of the weighted sum of every exit's cross-entropy."""

    epochs: PositiveInt = 8
    batch_size: Annotated[int, Field(ge=2), must_be("a whole number, at least 2")] = 64
    learning_rate: Annotated[float, Field(gt=0, le=1), must_be("a number in (0, 1]")] = 0.003
    weight_decay: Annotated[float, Field(ge=0, le=1), must_be("a number in [0, 1]")] = 0.01
