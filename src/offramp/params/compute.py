"""Section `compute`: where tensors live and how many threads work on them."""

from typing import Annotated

from pydantic import Field

from offramp.params.reading import PositiveInt, Section, must_be


class Compute(Section):
    """`compute`: the device, and the CPU threads of one process (results depend on their number in the last bits)."""

    device: Annotated[
        str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$"), must_be("auto, cpu, cuda, cuda:N or mps")
    ] = "auto"
    threads: PositiveInt = 2
