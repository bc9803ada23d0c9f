"""The network: trunk segments, each followed by an exit head; the last head is the final classifier.

`segments[k]` maps the features after segment k-1 to those after segment k, `heads[k]` maps them to logits. Whatever
can be written this way can be trained, cached, counted and calibrated.
"""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn


class EarlyExitNetwork(nn.Module):
    """Base of all networks. A subclass registers its layers under names of its own and lists them as stages.

    `stages` holds (segment, head) pairs and is a plain list: it adds no second name for a parameter.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stages: Sequence[tuple[nn.Module, nn.Module]] = []

    @property
    def exits(self) -> list[str]:
        return exit_names(len(self.stages))

    def prepend(self, module: nn.Module) -> None:
        """Let `module` be the first thing that the first segment does, as the input's normalisation is."""
        self.first = module  # moves to a device with the rest
        (segment, head), *others = self.stages
        self.stages = [(nn.Sequential(module, segment), head), *others]

    def place(self, device: torch.device) -> Self:
        """Move the network to a device, channels last in memory: up to six times faster on a CPU."""
        return self.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return every exit's logits, each (samples, classes), for float images (samples, channels, height, width)."""
        logits = []
        features = images
        for segment, head in self.stages:
            features = segment(features)
            logits.append(head(features))
        return logits


def exit_names(n_exits: int) -> list[str]:
    return [f"exit_{number}" for number in range(1, n_exits + 1)]


def to_input(images: Tensor) -> Tensor:
    """Return uint8 images as the network's input: float pixels in [0, 1] and nothing else, channels last in memory."""
    return images.to(torch.float32).div_(255).contiguous(memory_format=torch.channels_last)
