"""Sections `model` and `models`: which network, and what defines it."""

from typing import Annotated, Literal

from pydantic import Field

from offramp.params.reading import PositiveInt, Section, must_be, one_of


class Model(Section):
    """`model`: the network in use."""

    name: str


class BranchyNet(Section):
    """A 6-exit BranchyNet; see `offramp.networks.branchynet`."""

    network: Annotated[Literal["branchynet"], one_of("branchynet")]
    channels: Annotated[
        list[PositiveInt], Field(min_length=3, max_length=3), must_be("a list of three whole numbers, at least 1")
    ] = [32, 64, 128]
    exit_weights: Annotated[
        list[Annotated[float, Field(ge=0, allow_inf_nan=False)]],
        Field(min_length=6, max_length=6),
        must_be("a list of 6 numbers, none negative, one per exit, the final one last"),
    ] = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]


Models = Annotated[dict[str, BranchyNet], Field(min_length=1)]
