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


class Normalise(nn.Module):
    """(pixels − mean) / std per channel, for float images (samples, channels, height, width).

    The numbers are arguments of the network and no parameters of it: they stand in no state dict. Raises ValueError
    where there is not one of each per channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], channels: int) -> None:
        super().__init__()
        if not len(mean) == len(std) == channels:
            raise ValueError(
                f"normalise takes a mean and a std for each of the {channels} channels of the images; "
                f"got {len(mean)} and {len(std)}"
            )
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


def side_head_parameters(network: EarlyExitNetwork) -> list[nn.Parameter]:
    """Return the parameters that side heads alone use, in the network's order."""
    names = side_head_names(network)
    return [parameter for name, parameter in network.named_parameters() if name in names]


def backbone_parameters(network: EarlyExitNetwork) -> list[nn.Parameter]:
    """Return every other parameter, in the network's order."""
    names = side_head_names(network)
    return [parameter for name, parameter in network.named_parameters() if name not in names]


def side_head_names(network: EarlyExitNetwork) -> set[str]:
    """Return the names in the state dict of the parameters and buffers that side heads alone use."""
    backbone, side_heads = _split(network)
    used = {id(tensor) for module in side_heads for tensor in _tensors(module)}
    used -= {id(tensor) for module in backbone for tensor in _tensors(module)}
    return {name for name, tensor in network.state_dict(keep_vars=True).items() if id(tensor) in used}


def train_side_heads_only(network: EarlyExitNetwork) -> None:
    """Put side heads in training mode and the backbone, its batch norm and dropout, in evaluation mode."""
    backbone, side_heads = _split(network)
    network.eval()
    for module in side_heads:
        module.train()
    for module in backbone:  # again, for layers that a side head shares
        module.eval()


def _split(network: EarlyExitNetwork) -> tuple[list[nn.Module], list[nn.Module]]:
    """Return the backbone's modules and the side heads."""
    segments, heads = [segment for segment, _ in network.stages], [head for _, head in network.stages]
    return [*segments, heads[-1]], heads[:-1]


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
