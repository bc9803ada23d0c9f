"""Counting multiply-adds from the real modules, segment by segment and head by head.

torch's flop counter counts two operations per multiply-add in convolutions and matrix products; what it does not
count (batch norm, pooling, activations) is 0 by our convention. It sees operators, not what a fused one consists of:
so attention is counted in its plain form, as the matrix products that it is.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from offramp.networks.early_exit import EarlyExitNetwork


def count_macs(network: EarlyExitNetwork, image_shape: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return the MACs per image of every segment and every head, each (exits,). Ends in evaluation mode."""
    network.eval()
    segment_macs, head_macs = [], []
    with torch.inference_mode(), _plain_attention():
        features = torch.zeros(1, *image_shape)
        for segment, head in network.stages:
            macs, next_features = _count(segment, features)
            segment_macs.append(macs)
            head_macs.append(_count(head, next_features)[0])
            features = next_features
    return segment_macs, head_macs


def _count(module: nn.Module, features: torch.Tensor) -> tuple[int, torch.Tensor]:
    with FlopCounterMode(display=False) as counter:
        output = module(features)
    return counter.get_total_flops() // 2, output


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Run attention as matrix products, neither as torch's fused layer nor as its fused kernel."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
