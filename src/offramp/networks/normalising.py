"""Input normalisation, part of the network: whoever runs its segments cannot forget it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


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
