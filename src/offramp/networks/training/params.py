"""Section `train`: how the network is trained."""

from typing import Annotated, Literal

from pydantic import Field

from offramp.networks.params import Backbone, Definition
from offramp.project.sections import PositiveInt, Section


class Augment(Section):
    """`train.augment`: random changes of training images; validation images are never changed."""

    crop: Annotated[int, Field(ge=0)] = 0
    flip: bool = False

    @property
    def active(self) -> bool:
        return self.crop > 0 or self.flip


class Train(Section):
    """`train`: what is trained in which order, and the optimisation of the weighted sum of the cross-entropies."""

    mode: Literal["joint", "two_phase", "heads_only"] = "joint"
    epochs: PositiveInt = 6
    backbone_epochs: PositiveInt = 8
    freeze_backbone: bool = True
    batch_size: Annotated[int, Field(ge=2)] = 64
    optimiser: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.004
    schedule: Literal["one_cycle", "cosine", "constant"] = "one_cycle"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    augment: Augment = Augment()
    amp: bool = True


def require_start(train: Train, definition: Definition, model: str) -> None:
    """Raise ValueError where the chosen network would train heads on a backbone that has learnt nothing."""
    given = definition.weights or definition.initial_weights
    if train.mode == "heads_only" and not given and not starts_pretrained(definition):
        raise ValueError(
            f"train.mode heads_only trains side heads on a backbone that is already trained: set "
            f"models.{model}.initial_weights, or pretrained: true of a torchvision backbone, or take train.mode joint "
            "or two_phase; change it in params.yaml"
        )


def starts_pretrained(definition: Definition) -> bool:
    """Whether a backbone comes with torchvision's weights; weights of its own take their place."""
    return (
        isinstance(definition, Backbone)
        and definition.pretrained
        and definition.weights is None
        and definition.initial_weights is None
    )


def seen_images_warning(definition: Definition, model: str, dataset: str, val_from: str | None) -> str | None:
    """Return a warning where weights come from elsewhere and validation rows from the images they were trained on.

    `val_from` is the split of the source that validation rows are taken from; None where they are rendered.
    """
    key = "initial_weights" if definition.weights is None else "weights"
    if val_from != "train" or (definition.weights is None and definition.initial_weights is None):
        return None
    return (
        f"warning: models.{model}.{key} come from elsewhere, and validation rows are taken from the training images of "
        f"{dataset}, on which they were very likely trained: thresholds and certificates chosen there would be too "
        f"optimistic; set datasets.{dataset}.val_from: test"
    )
