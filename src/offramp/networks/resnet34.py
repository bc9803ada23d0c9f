"""ResNet-34 for small images, with two exits in every block.

After He, Zhang, Ren & Sun, "Deep Residual Learning for Image Recognition" (CVPR 2016), with the exits of Predictive
Exit (Li et al., AAAI 2023; arXiv 2206.04685): odd ones in the middle of a block, after the ReLU of its first
convolution, even ones after the block; all have bag-of-features heads.

A segment gives one tensor, and what follows the middle of a block needs two: the features there and the shortcut. They
travel as one, (samples, 2 · channels, height, width), the features first; the head slices them off and the next segment
takes both. A shortcut is packed after its projection, when both have one size, so the MACs of a projection belong to
the segment before the middle exit. Packing costs a copy and no MACs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from offramp.networks.bag_of_features import BagOfFeatures, ExitClassifier
from offramp.networks.early_exit import EarlyExitNetwork
from offramp.networks.resnet18 import BasicBlock

CHANNELS, BLOCKS, HORIZONS = (64, 128, 256, 512), (3, 4, 6, 3), (16, 8, 4, 2)  # of stages 1 to 4
SMALLEST = 16


class FirstHalf(nn.Module):
    """A block up to its middle: (samples, before, …) to (samples, 2 · channels, …), features and shortcut."""

    def __init__(self, block: BasicBlock) -> None:
        super().__init__()
        self.path = nn.Sequential(block.conv1, block.bn1, block.relu)
        self.shortcut = block.shortcut

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([self.path(features), self.shortcut(features)], dim=1)


class SecondHalf(nn.Module):
    """The rest of a block: (samples, 2 · channels, …), as `FirstHalf` packs it, to (samples, channels, …)."""

    def __init__(self, block: BasicBlock) -> None:
        super().__init__()
        self.path = nn.Sequential(block.conv2, block.bn2)
        self.relu = block.relu

    def forward(self, packed: Tensor) -> Tensor:
        features, shortcut = packed.chunk(2, dim=1)
        return self.relu(self.path(features) + shortcut)


class Features(nn.Module):
    """The features in the middle of a block, without the shortcut packed with them."""

    def forward(self, packed: Tensor) -> Tensor:
        return packed[:, : packed.shape[1] // 2]


class ResNet34(EarlyExitNetwork):
    """See the module; 32 side exits and the final one. `width` multiplies the channels 64, 128, 256 and 512.

    `stem_pool` is the size of the max-pooling after the first convolution, 1 for none; 3 makes of 96×96 images what
    32×32 ones are, as the authors do for STL-10. Each block's two exits share a bag of features, each stage's exits a
    classifier. Parameters: `conv1`, `bn1`, `layerS.B.{conv1,bn1,conv2,bn2,shortcut}` as in ResNet-18; `bag1…16`, one
    per block; `classifierS.{hidden.N,logits}`, one per stage S, for N histogram entries; `fc`. The final segment is the
    average pooling.

    32×32 images and 10 classes give 1,159,402,496 MACs without side heads and 58,216,448 of all 32 of them together.
    Raises ValueError where less than 16 pixels a side are left after `stem_pool`: no window of the first bag fits.
    """

    def __init__(self, image_shape: Sequence[int], n_classes: int, width: float = 1.0, stem_pool: int = 1) -> None:
        super().__init__()
        in_channels, *pixels = image_shape
        size = [length // stem_pool for length in pixels]
        if min(size) < SMALLEST:
            least = SMALLEST * stem_pool
            raise ValueError(f"ResNet-34 takes images of at least {least} pixels a side; got {pixels[0]}×{pixels[1]}")
        channels = [max(1, round(width * full)) for full in CHANNELS]
        self.conv1 = nn.Conv2d(in_channels, channels[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        self.relu = nn.ReLU()
        self.stages = []
        before = channels[0]
        for place, after in enumerate(channels):
            stride = 1 if place == 0 else 2
            size = [-(-length // stride) for length in size]
            blocks = [BasicBlock(before, after, stride)]
            blocks += [BasicBlock(after, after, 1) for _ in range(BLOCKS[place] - 1)]
            self.add_module(f"layer{place + 1}", nn.Sequential(*blocks))
            self.stages += self._exits(place, blocks, (size[0], size[1]), after, n_classes)
            before = after
        self.fc = nn.Linear(before, n_classes)
        self.stages.append((nn.AvgPool2d((size[0], size[1])), nn.Sequential(nn.Flatten(), self.fc)))
        stem = [self.conv1, self.bn1, self.relu, *([nn.MaxPool2d(stem_pool)] if stem_pool > 1 else [])]
        self.stages[0] = (nn.Sequential(*stem, self.stages[0][0]), self.stages[0][1])

    def _exits(
        self, place: int, blocks: Sequence[BasicBlock], size: tuple[int, int], channels: int, n_classes: int
    ) -> list[tuple[nn.Module, nn.Module]]:
        """Register the bags and the classifier of one of the four stages, and return its segments with their heads."""
        classifier = ExitClassifier(n_classes)
        self.add_module(f"classifier{place + 1}", classifier)
        found: list[tuple[nn.Module, nn.Module]] = []
        for number, block in enumerate(blocks, start=sum(BLOCKS[:place]) + 1):
            bag = BagOfFeatures(channels, HORIZONS[place])
            self.add_module(f"bag{number}", bag)
            head = classifier.head(bag, size)
            found += [(FirstHalf(block), nn.Sequential(Features(), *head)), (SecondHalf(block), head)]
        return found
