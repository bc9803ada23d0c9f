"""A small network with lively logits, and its ONNX graph; exporting takes seconds, so a module makes it once."""

import numpy as np
import torch

from offramp.networks.branchynet import BranchyNet
from offramp.networks.file import Description
from offramp.runtime.engines.exporting import export

CHANNELS, CLASSES = [4, 8, 8], 5
EXITS = [f"exit_{k}" for k in range(1, 7)]


def lively_network(seed: int = 0) -> BranchyNet:
    """Return an untrained network whose batch norms do something and whose answers are neither sure nor uniform."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    network = BranchyNet(CHANNELS, (3, 32, 32), CLASSES).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
            for values, low, high in (
                (module.running_mean, 0.0, 0.3),
                (module.running_var, 0.05, 0.5),
                (module.weight.data, -1.0, 1.5),
                (module.bias.data, -0.3, 0.3),
            ):
                values.copy_(torch.rand(values.shape, generator=generator) * (high - low) + low)
    return network


def description() -> Description:
    names = [f"class {c}" for c in range(CLASSES)]
    return Description("tiny", "branchynet", {"channels": CHANNELS}, [3, 32, 32], names)


def exported(network: BranchyNet):
    return export(network, description(), "0" * 64)


def noise(n: int, seed: int = 1):
    """Return images of flat colours with noise: unlike pure noise they do not all get the same answer."""
    rng = np.random.default_rng(seed)
    flat = rng.integers(0, 256, (n, 1, 1, 3))
    return np.clip(flat + rng.normal(0, 40, (n, 32, 32, 3)), 0, 255).astype(np.uint8)
