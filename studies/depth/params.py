"""Section `depth` of studies/depth/params.yaml: nearest-neighbour probes that tell where an image's answer settles."""

from typing import Self

from pydantic import model_validator

from offramp.project.sections import PositiveInt, Section


class Depth(Section):
    """`depth`: neighbours that vote, training images they are taken from, and test images that are probed."""

    neighbours: PositiveInt = 30
    support: PositiveInt = 4000
    samples: PositiveInt = 2000

    @model_validator(mode="after")
    def _enough_support(self) -> Self:
        if self.neighbours > self.support:
            raise ValueError(
                f"depth.neighbours must be at most depth.support ({self.support}), the images that they are taken "
                f"from; got {self.neighbours}"
            )
        return self


class Study(Section):
    """All of studies/depth/params.yaml."""

    depth: Depth = Depth()
