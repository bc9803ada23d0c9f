"""A network of one's own: `models.NAME: {factory: experiments.own_network:convolutions, arguments: {channels: 16}}`."""

from torch import nn


def convolutions(
    image_shape: tuple[int, int, int], n_classes: int, channels: int = 16
) -> list[tuple[nn.Module, nn.Module]]:
    """Return three (segment, head) pairs: a convolution of stride 2 with batch norm each, and a linear layer."""
    pairs: list[tuple[nn.Module, nn.Module]] = []
    before = image_shape[0]
    for after in (channels, 2 * channels, 4 * channels):
        segment = nn.Sequential(nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU())
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(after, n_classes))
        pairs.append((segment, head))
        before = after
    return pairs
