"""Networks by name. A new one is a module here and an entry in `build`; nothing of calibration is known to it."""

from collections.abc import Mapping, Sequence
from typing import Any

from offramp.networks.branchynet import BranchyNet
from offramp.networks.early_exit import EarlyExitNetwork

NETWORKS = {"branchynet": BranchyNet}


def build(network: str, arguments: Mapping[str, Any], image_shape: Sequence[int], n_classes: int) -> EarlyExitNetwork:
    """Return the untrained `network` for `image_shape` (channels, height, width). ValueError: unknown name."""
    if network not in NETWORKS:
        raise ValueError(f"unknown network {network!r}; known: {', '.join(sorted(NETWORKS))}")
    return NETWORKS[network](**arguments, image_shape=image_shape, n_classes=n_classes)
