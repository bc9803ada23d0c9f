"""Networks that are no BranchyNet, small enough for tests: what is made of them is made once per process."""

import functools

import numpy as np
import torch
from torch import nn

from offramp.networks.file import Description
from offramp.networks.registry import build
from offramp.runtime.engines.exporting import export

CLASSES = 5
SHAPE = (3, 32, 32)
NORMALISE = {"mean": [0.4, 0.5, 0.5], "std": [0.2, 0.2, 0.3]}
ARGUMENTS = {
    "squeezenet": (
        "torchvision",
        {"backbone": "squeezenet1_1", "exits": ["features.4", "features.7"], "normalise": NORMALISE},
    ),
    "tokens": ("factory", {"factory": "tests.cases.own_network:tokens", "arguments": {"channels": 12}}),
    "logits last": ("factory", {"factory": "tests.cases.own_network:logits_last"}),
}


def images(n, seed=1):
    """Return flat colours with noise (n, 32, 32, 3)."""
    rng = np.random.default_rng(seed)
    flat = rng.integers(0, 256, (n, 1, 1, 3))
    return np.clip(flat + rng.normal(0, 40, (n, *SHAPE[1:], 3)), 0, 255).astype(np.uint8)


def floats(n):
    return torch.from_numpy(images(n)).permute(0, 3, 1, 2) / 255


def settle(network):
    """Let batch norms have seen images, and no head be zero, as torchvision's ViTs start; in evaluation mode."""
    for module in network.modules():
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.05)
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(floats(16))
    return network.eval()


@functools.cache
def network(name):
    torch.manual_seed(0)
    return settle(build(*ARGUMENTS[name], SHAPE, CLASSES))


def description(name):
    return Description(name, *ARGUMENTS[name], list(SHAPE), list("abcde"))


@functools.cache
def graph(name):
    return export(network(name), description(name), "0" * 64)
