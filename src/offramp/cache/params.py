"""Section `logits`: how the logit cache is filled; and of `calibrate`, how its validation rows are dealt into folds."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from offramp.project.sections import PositiveInt, Section, Seed


class Logits(Section):
    """`logits`: images per forward pass, the stored type of a logit, and what runs the network."""

    batch_size: PositiveInt = 64
    dtype: Literal["float32", "float16"] = "float32"
    engine: Literal["torch", "onnx"] = "torch"


class Folds(BaseModel):
    """Of `calibrate`, the two keys that say which rows are tune rows: all that stages need which calibrate nothing."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)
    tune_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    fold_seed: Seed = 17
