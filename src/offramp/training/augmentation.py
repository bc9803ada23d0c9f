"""Random crops and horizontal flips of uint8 images, one draw per sample and epoch."""

import torch
from torch import Tensor
from torch.nn import functional

from offramp.errors import InputError
from offramp.params.training import Augment


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
