"""Bag-of-features pooling and the exit heads that are made of it.

After Passalis & Tefas, "Learning bag-of-features pooling for deep convolutional neural networks" (ICCV 2017), in the
form of Predictive Exit (Li et al., AAAI 2023; arXiv 2206.04685): similarity to a codeword is a logistic function of an
inner product, and every exit uses its own histogram alone. A head is the pooling and one or two linear layers, with no
nonlinearity between them. Modules are shared among heads by being referred to; each is registered once, by the network.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

CODEWORDS = 64
LEAST = 5e-16  # that a position's similarities are divided by: one that resembles no codeword counts as nothing


class BagOfFeatures(nn.Module):
    """(samples, channels, height, width) to (samples, CODEWORDS · cells): how often each codeword stands in each cell.

    With codeword k's similarity v_k = sigmoid(2 (a (w_k · x + b_k) + c)) at every position, a cell's entry is n2 times
    the mean over its positions of n1 v_k / Σ v. Cells are windows of `horizon` × `horizon` positions that do not
    overlap; rows and columns that fill none are dropped. Entries stand codeword by codeword. `codebook` holds w and b;
    `steepness` a (1 at first), `offset` c (0), `mass` n1 (CODEWORDS) and `scale` n2 (`horizon`) are learned scalars.

    a and c act on the codebook and n1 · n2 on the pooled histogram: the same numbers, without an operation on every
    position. The authors add LEAST to Σ v. Both differ only where Σ v is below 1e-8, and ONNX's optimiser drops the
    addition, so that 0 / 0 would remain. Cost: height · width · channels · CODEWORDS MACs.
    """

    def __init__(self, channels: int, horizon: int) -> None:
        super().__init__()
        self.horizon = horizon
        self.codebook = nn.Conv2d(channels, CODEWORDS, kernel_size=1)
        self.steepness = nn.Parameter(torch.tensor(1.0))
        self.offset = nn.Parameter(torch.tensor(0.0))
        self.mass = nn.Parameter(torch.tensor(float(CODEWORDS)))
        self.scale = nn.Parameter(torch.tensor(float(horizon)))

    def n_features(self, size: tuple[int, int]) -> int:
        """Return how many entries features of this height and width give; 0 where no cell fits."""
        height, width = size
        return CODEWORDS * (height // self.horizon) * (width // self.horizon)

    def forward(self, features: Tensor) -> Tensor:
        assert self.codebook.bias is not None, "a codebook has biases"
        weight = 2 * self.steepness * self.codebook.weight
        bias = 2 * (self.steepness * self.codebook.bias + self.offset)
        similarity = functional.conv2d(features, weight, bias).sigmoid()  # not (1 + tanh) / 2, which cancels
        membership = similarity / similarity.sum(dim=1, keepdim=True).clamp(min=LEAST)
        return (self.mass * self.scale * functional.avg_pool2d(membership, self.horizon)).flatten(1)


class ExitClassifier(nn.Module):
    """The linear layers that several heads share: `logits`, and `hidden` before it where there are several cells.

    `hidden` has one layer for every number of histogram entries that its heads give, under that number as its name.
    """

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.hidden = nn.ModuleDict()
        self.logits = nn.Linear(CODEWORDS, n_classes)

    def head(self, bag: BagOfFeatures, size: tuple[int, int]) -> nn.Sequential:
        """Return a head for features of this height and width. Raises ValueError where not one cell of `bag` fits."""
        entries = bag.n_features(size)
        if entries == 0:
            raise ValueError(f"features of {size[0]}×{size[1]} have no window of {bag.horizon}×{bag.horizon}")
        if entries == CODEWORDS:
            return nn.Sequential(bag, self.logits)
        name = str(entries)
        if name not in self.hidden:
            self.hidden[name] = nn.Linear(entries, CODEWORDS)
        return nn.Sequential(bag, self.hidden[name], self.logits)
