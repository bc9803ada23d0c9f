"""The phases of training: which parameters move, which exits are run, what is minimised.

`joint`: one phase, the weighted sum of all exits' losses moves everything. `two_phase`: phase `backbone` trains the
segments and the last head on the last exit's loss, side heads are not run; phase `exits` trains the side heads, either
alone on a frozen backbone, or everything on the weighted sum. `heads_only`: phase `exits` on the backbone as loaded.
A frozen backbone is a constant function: its parameters get no gradient, its batch norm and dropout are in evaluation
mode, and nothing about it is remembered for a backward pass.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler, OneCycleLR

from offramp.networks.early_exit import (
    EarlyExitNetwork,
    backbone_parameters,
    side_head_names,
    side_head_parameters,
    train_side_heads_only,
)
from offramp.networks.given_weights import load_initial_weights
from offramp.networks.params import Definition
from offramp.networks.training.params import Train, starts_pretrained
from offramp.project.errors import InputError


@dataclass(frozen=True)
class Phase:
    """Consecutive epochs with an optimiser of their own. `loss_weights` weigh the losses of the exits that are run."""

    name: Literal["joint", "backbone", "exits"]
    epochs: int
    loss_weights: tuple[float, ...]
    backbone: bool  # is trained
    side_heads: bool  # are run and trained

    def exits(self, network: EarlyExitNetwork) -> list[str]:
        """Return the names of the exits that are run."""
        return network.exits if self.side_heads else network.exits[-1:]

    def parameters(self, network: EarlyExitNetwork) -> list[nn.Parameter]:
        """Return the parameters that move, in the network's order."""
        if self.backbone and self.side_heads:
            return list(network.parameters())
        return backbone_parameters(network) if self.backbone else side_head_parameters(network)

    @contextmanager
    def ready(self, network: EarlyExitNetwork) -> Iterator[None]:
        """Let nothing but the phase's parameters have gradients, and restore what had them before."""
        moving = {id(parameter) for parameter in self.parameters(network)}
        still = [one for one in network.parameters() if one.requires_grad and id(one) not in moving]
        for parameter in still:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in still:
                parameter.requires_grad_(True)

    def train(self, network: EarlyExitNetwork) -> None:
        """Put in training mode what the phase trains."""
        if self.backbone:
            network.train()
        else:
            train_side_heads_only(network)

    def logits(self, network: EarlyExitNetwork, images: Tensor) -> list[Tensor]:
        """Return the logits (samples, classes) of the exits that are run; a frozen backbone without autograd."""
        logits = []
        features = images
        last = len(network.stages) - 1
        for number, (segment, head) in enumerate(network.stages):
            with torch.set_grad_enabled(self.backbone and torch.is_grad_enabled()):
                features = segment(features)
            if number == last or self.side_heads:
                trained = self.backbone or number < last
                with torch.set_grad_enabled(trained and torch.is_grad_enabled()):
                    logits.append(head(features))
        return logits


def phases(settings: Train, loss_weights: Sequence[float]) -> list[Phase]:
    """Return the phases of `settings.mode`; `loss_weights` (exits,) are those of the exits' losses.

    Raises InputError where side heads are to be trained and the network has none.
    """
    weights = tuple(loss_weights)
    if settings.mode == "joint":
        return [Phase("joint", settings.epochs, weights, backbone=True, side_heads=True)]
    if len(weights) == 1:
        raise InputError(
            f"train.mode {settings.mode} trains side heads, and the network has a single exit; set train.mode to joint "
            "in params.yaml"
        )
    frozen = settings.mode == "heads_only" or settings.freeze_backbone
    exits = Phase("exits", settings.epochs, weights, backbone=not frozen, side_heads=True)
    if settings.mode == "heads_only":
        return [exits]
    return [Phase("backbone", settings.backbone_epochs, (1.0,), backbone=True, side_heads=False), exits]


def optimiser_of(settings: Train, parameters: Sequence[nn.Parameter]) -> Optimizer:
    """Return AdamW, Adam (whose decay is part of the gradient) or SGD with momentum, in its fused form."""
    rate, decay = settings.learning_rate, settings.weight_decay
    match settings.optimiser:
        case "adamw":
            return AdamW(parameters, lr=rate, weight_decay=decay, fused=True)
        case "adam":
            return Adam(parameters, lr=rate, weight_decay=decay, fused=True)
        case "sgd":
            return SGD(parameters, lr=rate, momentum=settings.momentum, weight_decay=decay, fused=True)


def schedule_of(settings: Train, optimiser: Optimizer, steps: int) -> LRScheduler:
    """Return the schedule of a phase of `steps` steps, to be stepped after each of them.

    One cycle after Smith & Topin (2019): up to the rate in 30 % of the steps, then down to nearly nothing. It moves
    Adam's first beta against the rate; SGD's momentum stays what `train.momentum` says.
    """
    match settings.schedule:
        case "one_cycle":
            moves = settings.optimiser != "sgd"
            return OneCycleLR(optimiser, settings.learning_rate, total_steps=steps, cycle_momentum=moves)
        case "cosine":
            return CosineAnnealingLR(optimiser, T_max=steps)
        case "constant":
            return ConstantLR(optimiser, factor=1.0)


def uses_bfloat16(settings: Train, device: torch.device) -> bool:
    """Whether steps run under bfloat16 autocast: with `train.amp`, on a CUDA device that has it. Never on a CPU."""
    return settings.amp and device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def start(network: EarlyExitNetwork, definition: Definition, settings: Train) -> None:
    """Load the weights that the definition names, if any, and print what keeps its random ones.

    Raises InputError for weights that do not fit, and where `heads_only` would freeze what has learnt nothing: the last
    head of a pretrained backbone for other classes.
    """
    if definition.initial_weights is not None:
        source = definition.initial_weights
        random = load_initial_weights(network, Path(source).expanduser())
    elif starts_pretrained(definition):
        from offramp.networks.pretrained import load_pretrained
        from offramp.networks.torchvision import Backbone

        assert isinstance(network, Backbone)
        source, random = f"torchvision's {network.backbone}", load_pretrained(network)
    else:
        return
    if settings.mode == "heads_only":
        _require_trained_backbone(network, source, random)
    print(f"training starts from {source}" + (f"; random at first: {', '.join(random)}" if random else ""))


def _require_trained_backbone(network: EarlyExitNetwork, source: str, random: Iterable[str]) -> None:
    side_heads = side_head_names(network)
    parameters = {name for name, _ in network.named_parameters()}
    untrained = [name for name in random if name in parameters and name not in side_heads]
    if untrained:
        raise InputError(
            f"train.mode heads_only freezes everything but side heads, and {source} leaves {untrained[0]} at random "
            "values (it was trained on other classes); set train.mode to joint or two_phase in params.yaml"
        )
