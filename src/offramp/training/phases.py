"""The phases of training: which parameters move, which exits are run, what is minimised.

`joint`: one phase, the weighted sum of all exits' losses moves everything. `two_phase`: phase `backbone` trains the
segments and the last head on the last exit's loss, side heads are not run; phase `exits` trains the side heads, either
alone on a frozen backbone, or everything on the weighted sum. `heads_only`: phase `exits` on the backbone as loaded.
A frozen backbone is a constant function: its parameters get no gradient, its batch norm and dropout are in evaluation
mode, and nothing about it is remembered for a backward pass.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from offramp.errors import InputError
from offramp.networks.early_exit import EarlyExitNetwork
from offramp.networks.parts import backbone_parameters, side_head_parameters, train_side_heads_only
from offramp.params.training import Train


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
