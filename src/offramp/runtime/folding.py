"""Folding batch norm into the convolution before it, where the two follow each other directly."""

from copy import deepcopy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norm(module: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode in which every convolution followed by batch norm in a Sequential is one.

    Where something stands between them, as ReLU does in BranchyNet, nothing is folded; nor is batch norm folded into a
    convolution after it, which would be wrong at a zero-padded border.
    """
    return _folded(deepcopy(module).eval())


def _folded(module: nn.Module) -> nn.Module:
    for name, child in module.named_children():
        setattr(module, name, _folded(child))
    if not isinstance(module, nn.Sequential):
        return module
    layers: list[nn.Module] = []
    for layer in module:
        if isinstance(layer, nn.BatchNorm2d) and layers and isinstance(layers[-1], nn.Conv2d):
            layers[-1] = fuse_conv_bn_eval(layers[-1], layer)
        else:
            layers.append(layer)
    return nn.Sequential(*layers)
