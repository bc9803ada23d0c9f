"""Networks of a user's own, as `models.NAME.factory: tests.cases.own_network:tokens` names one."""

from torch import nn


class Tokens(nn.Module):
    """Patches of 8×8 pixels as tokens: (samples, tokens, channels)."""

    def __init__(self, in_channels, channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 8, stride=8)

    def forward(self, images):
        return self.conv(images).flatten(2).transpose(1, 2)


class Layer(nn.Module):
    """One layer of a transformer."""

    def __init__(self, channels):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = nn.MultiheadAttention(channels, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels))

    def forward(self, tokens):
        normed = self.norm1(tokens)
        tokens = tokens + self.attention(normed, normed, normed, need_weights=False)[0]
        return tokens + self.mlp(self.norm2(tokens))


class Head(nn.Module):
    """The mean of all tokens and a linear layer."""

    def __init__(self, linear):
        super().__init__()
        self.linear = linear

    def forward(self, tokens):
        return self.linear(tokens.mean(dim=1))


def tokens(image_shape, n_classes, channels=16):
    """Return two (segment, head) pairs; the heads share their linear layer."""
    linear = nn.Linear(channels, n_classes)
    first = nn.Sequential(Tokens(image_shape[0], channels), Layer(channels))
    return [(first, Head(linear)), (Layer(channels), Head(linear))]


def logits_last(image_shape, n_classes):
    """Return heads that do nothing: the segments end with logits themselves."""
    channels, height, width = image_shape
    first = nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, n_classes))
    return [(first, nn.Identity()), (nn.Linear(n_classes, n_classes), nn.Identity())]


def no_pairs(image_shape, n_classes):
    return [nn.Linear(image_shape[0], n_classes)]


def one_class_more(image_shape, n_classes):
    return logits_last(image_shape, n_classes + 1)


def does_not_run(image_shape, n_classes):
    return [(nn.Conv2d(image_shape[0] + 1, 4, 3), nn.Linear(4, n_classes))]


not_a_function = 3
