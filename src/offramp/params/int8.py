"""Section `int8`: how the exported network is quantised."""

from typing import Annotated, Literal

from offramp.params.reading import PositiveInt, Section, one_of


class Int8(Section):
    """`int8`: the tune-fold images that ranges are taken from, and what the heads calculate in."""

    images: PositiveInt = 512
    heads: Annotated[Literal["int8", "float32"], one_of("int8", "float32")] = "int8"
