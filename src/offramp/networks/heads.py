"""Side heads for features of any layout: pooled to one vector per sample, then one linear layer (`pool_linear`)."""

import torch
from torch import Tensor, nn

from offramp.networks.resnet18 import PoolLinear


class TokenHead(nn.Module):
    """Layer norm over the channels, pooling, one linear layer: (samples, …, channels) to (samples, classes).

    Pooling is the mean over all that stands between samples and channels (tokens, or rows and columns), or, where the
    backbone classifies by it, the first token. Transformers normalise before they classify; so does this head.
    """

    def __init__(self, channels: int, n_classes: int, class_token: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.fc = nn.Linear(channels, n_classes)
        self._class_token = class_token

    def forward(self, features: Tensor) -> Tensor:
        if self._class_token:  # normalised after it is picked: the norm is each token's own
            return self.fc(self.norm(features[:, 0]))
        return self.fc(self.norm(features).flatten(1, -2).mean(dim=1))


def pool_linear(shape: torch.Size, n_classes: int, channels_last: bool, class_token: bool) -> nn.Module:
    """Return a head for features of this shape, the first axis samples.

    Two axes: a linear layer. Three: tokens, then channels. Four: channels before rows and columns, or, with
    `channels_last`, after them. Raises ValueError for any other number of axes.
    """
    match len(shape):
        case 2:
            return nn.Linear(shape[1], n_classes)
        case 3:
            return TokenHead(shape[2], n_classes, class_token)
        case 4:
            return TokenHead(shape[3], n_classes, False) if channels_last else PoolLinear(shape[1], n_classes)
    raise ValueError(f"pool_linear takes features of 2, 3 or 4 axes, samples first; got {tuple(shape)}")
