"""Section `logits`: how the logit cache is filled."""

from typing import Annotated, Literal

from offramp.params.reading import PositiveInt, Section, one_of


class Logits(Section):
    """`logits`: images per forward pass, the stored type of a logit, and what runs the network."""

    batch_size: PositiveInt = 64
    dtype: Annotated[Literal["float32", "float16"], one_of("float32", "float16")] = "float32"
    engine: Annotated[Literal["torch", "onnx"], one_of("torch", "onnx")] = "torch"
