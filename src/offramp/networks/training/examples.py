"""The images of a split in memory, and on their way to the device."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from offramp.data.prepared import Split, read_batches
from offramp.networks.training.params import Augment
from offramp.project.errors import InputError

READ_ROWS = 1000  # images decoded at once
DEVICE_SHARE = 0.25  # of an accelerator's memory that images may fill


@dataclass(frozen=True)
class Examples:
    """Images (n, channels, height, width) as uint8, channels last in memory, and labels (n,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def place(self, device: torch.device) -> Self:
        """Return the examples where their batches are gathered fastest.

        That is a CUDA device itself where they fill at most a quarter of its memory; else they stay where they are.
        """
        if device.type != "cuda" or self.images.nbytes > DEVICE_SHARE * torch.cuda.mem_get_info(device)[1]:
            return self
        return type(self)(self.images.to(device), self.labels.to(device))

    def first(self, n: int) -> Self:
        """Return the first `n` examples, all where there are fewer."""
        return type(self)(self.images[:n], self.labels[:n])

    @property
    def device(self) -> torch.device:
        """Where the examples are; row numbers that are there too are not copied at every step."""
        return self.labels.device

    def batch(self, rows: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the images and labels of `rows` (m,), row numbers on `self.device`, on the network's `device`."""
        return _send(self.images[rows], device), _send(self.labels[rows], device)


def read_examples(split: Split) -> Examples:
    """Decode a whole split into memory, where every epoch reads it: 3 KB per 32×32 image."""
    height, width = split.image_shape[1:]
    images = np.empty((split.rows, height, width, split.image_shape[0]), np.uint8)
    labels = np.empty(split.rows, np.int64)
    end = 0
    for sample, batch, label in read_batches(split, READ_ROWS):
        start, end = end, end + len(sample)
        images[start:end], labels[start:end] = batch, label
    return Examples(torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels))


def _send(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy to the device, if it is not there; from pinned memory, so that the CPU goes on at once, to a CUDA one."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def require_fitting(augment: Augment, images: Tensor) -> None:
    """Raise InputError where a crop could show nothing of an image (n, channels, height, width)."""
    height, width = images.shape[2:]
    if augment.crop >= min(height, width):
        raise InputError(
            f"train.augment.crop must be smaller than the images, {height}×{width} pixels; got {augment.crop}; change "
            "it in params.yaml"
        )


def draw(augment: Augment, n: int, generator: torch.Generator) -> Tensor:
    """Return what happens to each of n images: rows from the top, columns from the left, flip 0 or 1; (n, 3), int64.

    The window of the original size is cut at (top, left) from the image with `augment.crop` pixels of zeros around it.
    """
    corners = torch.randint(0, 2 * augment.crop + 1, (n, 2), generator=generator)
    flips = torch.randint(0, 2, (n, 1), generator=generator) * int(augment.flip)
    return torch.cat([corners, flips], 1)


def apply(images: Tensor, drawn: Tensor, crop: int) -> Tensor:
    """Return `images` (n, channels, height, width), uint8, cropped and flipped as `drawn` (n, 3) says; channels last.

    Cropping comes first, as in He et al. (2016), Section 4.2: 4 pixels of padding for 32×32 images.
    """
    n, _, height, width = images.shape
    padded = functional.pad(images, (crop, crop, crop, crop)).permute(0, 2, 3, 1)
    top, left, flip = drawn.unsqueeze(2).unbind(1)  # each (n, 1)
    columns = torch.arange(width, device=images.device).expand(n, width)
    columns = torch.where(flip == 1, width - 1 - columns, columns) + left
    rows = torch.arange(height, device=images.device) + top  # (n, height)
    which = torch.arange(n, device=images.device)[:, None, None]
    return padded[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
