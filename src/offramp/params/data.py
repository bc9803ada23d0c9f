"""Sections `data` and `datasets`: which images the network sees."""

from typing import Annotated, Literal

from pydantic import Field

from offramp.params.reading import PositiveInt, Section, one_of


class Data(Section):
    """`data`: the data set in use."""

    name: str


class ClutteredDigits(Section):
    """The embedded data set: numbers of rendered images per split."""

    source: Annotated[Literal["cluttered_digits"], one_of("cluttered_digits")]
    train: PositiveInt = 12000
    val: PositiveInt = 6000
    test: PositiveInt = 10000


Datasets = Annotated[dict[str, ClutteredDigits], Field(min_length=1)]
