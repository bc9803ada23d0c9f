"""Networks by name. A new one is a module of layers, a section of params.yaml and one call of `register` beside it.

Importing this imports no torch: layers are imported when a network is built. Nothing of calibration is known here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from offramp.networks.early_exit import EarlyExitNetwork
    from offramp.networks.params import Definition


@dataclass(frozen=True)
class Network:
    """A network: its name, its section of params.yaml, and its class, `package.module:class`.

    A section is told apart by `network: NAME` or, where there is one, by a `key` of its own.
    """

    name: str
    definition: "type[Definition]"
    layers: str
    key: str | None = None


NETWORKS: dict[str, Network] = {}
NAMES: set[str] = set()  # what `network` may be in params.yaml


def register(network: Network) -> None:
    """Add a network. Raises ValueError for a name that is taken."""
    if network.name in NETWORKS:
        raise ValueError(f"there is a network {network.name!r} already")
    NETWORKS[network.name] = network
    if network.key is None:
        NAMES.add(network.name)


def build(network: str, arguments: Mapping[str, Any], image_shape: Sequence[int], n_classes: int) -> "EarlyExitNetwork":
    """Return the untrained `network` for `image_shape` (channels, height, width).

    `arguments` are the network's own, and `normalise`, {"mean", "std"} per channel, which becomes the first thing that
    its first segment does. Raises ValueError for an unknown name and for what the network refuses.
    """
    if network not in NETWORKS:
        raise ValueError(f"unknown network {network!r}; known: {', '.join(sorted(NETWORKS))}")
    module, _, name = NETWORKS[network].layers.partition(":")
    own = {key: value for key, value in arguments.items() if key != "normalise"}
    built: EarlyExitNetwork = getattr(import_module(module), name)(**own, image_shape=image_shape, n_classes=n_classes)
    if "normalise" in arguments:
        from offramp.networks.early_exit import Normalise

        built.prepend(Normalise(**arguments["normalise"], channels=image_shape[0]))
    return built
