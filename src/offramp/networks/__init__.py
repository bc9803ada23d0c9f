"""Networks by name. A new one is a module here and an entry in `NETWORKS`; nothing of calibration is known to it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from offramp.networks.branchynet import BranchyNet
from offramp.networks.early_exit import EarlyExitNetwork
from offramp.networks.normalising import Normalise
from offramp.networks.resnet import ResNet18
from offramp.networks.resnet34 import ResNet34
from offramp.networks.vgg import VGG19BN


def _backbone(**arguments: Any) -> EarlyExitNetwork:
    from offramp.networks.backbones import Backbone  # torchvision, needed by this network only

    return Backbone(**arguments)


def _factory(**arguments: Any) -> EarlyExitNetwork:
    from offramp.networks.factory import FromFactory

    return FromFactory(**arguments)


NETWORKS: dict[str, Callable[..., EarlyExitNetwork]] = {
    "branchynet": BranchyNet,
    "resnet18": ResNet18,
    "vgg19_bn": VGG19BN,
    "resnet34": ResNet34,
    "torchvision": _backbone,
    "factory": _factory,
}


def build(network: str, arguments: Mapping[str, Any], image_shape: Sequence[int], n_classes: int) -> EarlyExitNetwork:
    """Return the untrained `network` for `image_shape` (channels, height, width).

    `arguments` are the network's own, and `normalise`, {"mean", "std"} per channel, which becomes the first thing that
    its first segment does. Raises ValueError for an unknown name and for what the network refuses.
    """
    if network not in NETWORKS:
        raise ValueError(f"unknown network {network!r}; known: {', '.join(sorted(NETWORKS))}")
    own = {name: value for name, value in arguments.items() if name != "normalise"}
    built = NETWORKS[network](**own, image_shape=image_shape, n_classes=n_classes)
    if "normalise" in arguments:
        built.prepend(Normalise(**arguments["normalise"], channels=image_shape[0]))
    return built
