"""VGG-19 with batch norm for small images, with an exit after every layer.

After Simonyan & Zisserman, "Very deep convolutional networks for large-scale image recognition" (ICLR 2015), with the
exits of Predictive Exit (Li et al., AAAI 2023; arXiv 2206.04685): a layer is a 3×3 convolution with batch norm and
ReLU, or a max-pooling, and every one but the last max-pooling has a bag-of-features head. One linear layer ends it.
"""

from collections.abc import Sequence

from torch import nn

from offramp.networks.bag_of_features import BagOfFeatures, ExitClassifier
from offramp.networks.early_exit import EarlyExitNetwork

CHANNELS, HORIZONS = (64, 128, 256, 512), (16, 8, 4, 2)  # of bags 1 to 4
GROUPS = ((2, 0), (2, 1), (4, 2), (4, 3), (4, 3))  # convolutions before a max-pooling, and place of their bag
SMALLEST = 32


class VGG19BN(EarlyExitNetwork):
    """See the module; 20 side exits and the final one. `width` multiplies the channels 64, 128, 256 and 512.

    Four bags of features, one per number of channels, and one classifier are shared by all side exits. Parameters:
    `conv1…16`, `bn1…16`; `bag1…4`; `classifier.hidden.N` for N histogram entries and `classifier.logits`; `fc`. At
    32×32 pixels heads have 2×2 cells and so a hidden layer (the authors' FC_a), except after a max-pooling and from
    exit 17 on: one cell and none. At 96×96 they have 6×6 or 3×3 cells and there are two hidden layers, of 2304 and 576
    entries: the authors' FC_a and FC_c for STL-10.

    32×32 images and 10 classes give 398,136,320 MACs without side heads and 21,574,144 of all 20 of them together.
    A head costs as much per channel at any width and a convolution less: at width 0.125 all heads are 45 % of the rest.
    Raises ValueError for images smaller than 32 pixels, which the max-poolings would reduce to nothing.
    """

    def __init__(self, image_shape: Sequence[int], n_classes: int, width: float = 1.0) -> None:
        super().__init__()
        before, *size = image_shape
        if min(size) < SMALLEST:
            raise ValueError(f"VGG-19 takes images of at least {SMALLEST} pixels a side; got {size[0]}×{size[1]}")
        channels = [max(1, round(width * full)) for full in CHANNELS]
        bags = [BagOfFeatures(*pair) for pair in zip(channels, HORIZONS, strict=True)]
        self.classifier = ExitClassifier(n_classes)
        layers: list[tuple[nn.Module, BagOfFeatures, tuple[int, int]]] = []  # with the height and width after each
        for n_convolutions, place in GROUPS:
            for _ in range(n_convolutions):
                layers.append((self._convolution(before, channels[place]), bags[place], (size[0], size[1])))
                before = channels[place]
            size = [length // 2 for length in size]
            layers.append((nn.MaxPool2d(2), bags[place], (size[0], size[1])))
        for number, bag in enumerate(bags, start=1):
            self.add_module(f"bag{number}", bag)
        self.fc = nn.Linear(before * size[0] * size[1], n_classes)
        *early, (last, _, _) = layers
        self.stages = [(layer, self.classifier.head(bag, size)) for layer, bag, size in early]
        self.stages.append((last, nn.Sequential(nn.Flatten(), self.fc)))

    def _convolution(self, before: int, after: int) -> nn.Sequential:
        """Register a convolution and its batch norm under the next number, and return them as a layer."""
        number = 1 + sum(name.startswith("conv") for name, _ in self.named_children())
        convolution, norm = nn.Conv2d(before, after, kernel_size=3, padding=1), nn.BatchNorm2d(after)
        self.add_module(f"conv{number}", convolution)
        self.add_module(f"bn{number}", norm)
        return nn.Sequential(convolution, norm, nn.ReLU())
