"""A 6-exit BranchyNet for small colour images.

After Teerapittayanon, McDanel & Kung, "BranchyNet" (ICPR 2016), in the form used in teaching: six convolutional
segments, five side heads of one strided convolution and one linear layer, a last head of five linear layers. Batch norm
follows ReLU. Parameter names (`conv1…6`, `bn1…7`, `branchK.{conv,bn,fc}`, `fc1…5`) are those of the public weights.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from offramp.networks.early_exit import EarlyExitNetwork

HEAD_CHANNELS = 16
LAST_HEAD_UNITS = 128


class SideHead(nn.Module):
    """3×3 convolution of stride 2 without padding, ReLU, batch norm, one linear layer."""

    def __init__(self, channels: int, size: int, n_classes: int) -> None:
        super().__init__()
        side = (size - 3) // 2 + 1
        self.conv = nn.Conv2d(channels, HEAD_CHANNELS, kernel_size=3, stride=2)
        self.bn = nn.BatchNorm2d(HEAD_CHANNELS)
        self.fc = nn.Linear(HEAD_CHANNELS * side * side, n_classes)

    def forward(self, features: Tensor) -> Tensor:  # (samples, channels, size, size) -> (samples, classes)
        features = self.bn(self.conv(features).relu())
        return self.fc(features.flatten(1))


class BranchyNet(EarlyExitNetwork):
    """See the module. `channels` are those of the three pairs of convolutions; images are square.

    32×32 images, channels (32, 64, 128) and 10 classes give 1,957,536 … 40,963,616 MACs up to exits 1 … 6.
    Raises ValueError for images smaller than 24 pixels, where the fifth head's convolution does not fit.
    """

    def __init__(self, channels: Sequence[int], image_shape: Sequence[int], n_classes: int) -> None:
        super().__init__()
        in_channels, size, width = image_shape
        if size != width or size < 24:
            raise ValueError(f"BranchyNet takes square images of at least 24 pixels; got {size}×{width}")
        a, b, c = channels
        half, quarter, eighth = size // 2, size // 4, size // 8
        self.conv1, self.bn1 = _conv(in_channels, a)
        self.conv2, self.bn2 = _conv(a, a)
        self.conv3, self.bn3 = _conv(a, b)
        self.conv4, self.bn4 = _conv(b, b)
        self.conv5, self.bn5 = _conv(b, c)
        self.conv6, self.bn6 = _conv(c, c)
        self.branch1 = SideHead(a, size, n_classes)
        self.branch2 = SideHead(a, half, n_classes)
        self.branch3 = SideHead(b, half, n_classes)
        self.branch4 = SideHead(b, quarter, n_classes)
        self.branch5 = SideHead(c, quarter, n_classes)
        self.fc1 = nn.Linear(c * eighth * eighth, LAST_HEAD_UNITS)
        self.fc2 = nn.Linear(LAST_HEAD_UNITS, LAST_HEAD_UNITS)
        self.fc3 = nn.Linear(LAST_HEAD_UNITS, LAST_HEAD_UNITS)
        self.fc4 = nn.Linear(LAST_HEAD_UNITS, LAST_HEAD_UNITS)
        self.bn7 = nn.BatchNorm1d(LAST_HEAD_UNITS)
        self.fc5 = nn.Linear(LAST_HEAD_UNITS, n_classes)
        self.pool = nn.MaxPool2d(2)
        self.relu = nn.ReLU()
        self.flatten = nn.Flatten()
        self.dropout2, self.dropout4, self.dropout6 = nn.Dropout(0.2), nn.Dropout(0.3), nn.Dropout(0.4)
        self.dropout7 = nn.Dropout(0.5)
        self.stages = self._stages()

    def _stages(self) -> list[tuple[nn.Module, nn.Module]]:
        relu, pool = self.relu, self.pool
        last_head = nn.Sequential(
            *(self.flatten, self.fc1, relu, self.fc2, relu, self.fc3, relu, self.fc4, relu),
            *(self.bn7, self.dropout7, self.fc5),
        )
        return [
            (nn.Sequential(self.conv1, relu, self.bn1), self.branch1),
            (nn.Sequential(self.conv2, relu, self.bn2, pool, self.dropout2), self.branch2),
            (nn.Sequential(self.conv3, relu, self.bn3), self.branch3),
            (nn.Sequential(self.conv4, relu, self.bn4, pool, self.dropout4), self.branch4),
            (nn.Sequential(self.conv5, relu, self.bn5), self.branch5),
            (nn.Sequential(self.conv6, relu, self.bn6, pool, self.dropout6), last_head),
        ]


def _conv(in_channels: int, out_channels: int) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding="same"), nn.BatchNorm2d(out_channels)
