"""ResNet-18 for small images, with exits after its first three stages.

After He, Zhang, Ren & Sun, "Deep Residual Learning for Image Recognition" (CVPR 2016): basic blocks of two 3×3
convolutions, projection shortcuts where the shape changes. For small images the stem is one 3×3 convolution without
max-pooling, so that the first stage works at full resolution. Each side head is average pooling and one linear layer,
as the last head is.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from offramp.networks.early_exit import EarlyExitNetwork

BLOCKS = 2  # per stage


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with batch norm, added to their input or its 1×1 projection."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, features: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(features)))
        return self.relu(self.bn2(self.conv2(out)) + self.shortcut(features))


class PoolLinear(nn.Sequential):
    """Global average pooling and one linear layer: (samples, channels, height, width) to (samples, classes)."""

    def __init__(self, channels: int, n_classes: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, n_classes))


class ResNet18(EarlyExitNetwork):
    """See the module. `channels` are those of the four stages.

    32×32 images, channels (64, 128, 256, 512) and 10 classes give 555,422,720 MACs without side heads. Raises
    ValueError for images smaller than 8 pixels, which the last stage would reduce to nothing.
    """

    def __init__(self, channels: Sequence[int], image_shape: Sequence[int], n_classes: int) -> None:
        super().__init__()
        in_channels, height, width = image_shape
        if min(height, width) < 8:
            raise ValueError(f"ResNet-18 takes images of at least 8 pixels a side; got {height}×{width}")
        self.conv1 = nn.Conv2d(in_channels, channels[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        self.relu = nn.ReLU()
        stages = []
        before = channels[0]
        for number, after in enumerate(channels, start=1):
            stride = 1 if number == 1 else 2
            blocks = [BasicBlock(before, after, stride)]
            blocks += [BasicBlock(after, after, 1) for _ in range(BLOCKS - 1)]
            stages.append(nn.Sequential(*blocks))
            before = after
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.head1 = PoolLinear(channels[0], n_classes)
        self.head2 = PoolLinear(channels[1], n_classes)
        self.head3 = PoolLinear(channels[2], n_classes)
        self.head4 = PoolLinear(channels[3], n_classes)
        self.stages = [
            (nn.Sequential(self.conv1, self.bn1, self.relu, self.layer1), self.head1),
            (self.layer2, self.head2),
            (self.layer3, self.head3),
            (self.layer4, self.head4),
        ]
