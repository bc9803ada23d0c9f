"""models/network.safetensors: a trained network, complete in one file that holds no code.

The metadata names the network and what defines it, so that reading the file needs no params.yaml. There is one
exception: a network of the user's own factory is built only where ./params.yaml names that factory, because building it
runs code, and a file from elsewhere must not choose which.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from offramp.networks.early_exit import EarlyExitNetwork
from offramp.networks.factory import require_named
from offramp.networks.registry import build
from offramp.project.errors import InputError
from offramp.project.files import replacing


@dataclass(frozen=True)
class Description:
    """What defines a trained network: the key of `models`, the network's name and arguments, its images and classes."""

    model: str
    network: str
    arguments: dict[str, Any]
    image_shape: list[int]  # channels, height, width
    classes: list[str]

    def build(self) -> EarlyExitNetwork:
        return build(self.network, self.arguments, self.image_shape, len(self.classes))


def save_network(path: Path, network: EarlyExitNetwork, description: Description) -> None:
    """Write the file. A tensor that has several names, where layers are shared, is written under each of them."""
    tensors = {}
    seen: set[int] = set()
    for name, tensor in network.state_dict().items():
        value = tensor.detach().cpu().contiguous()
        tensors[name] = value.clone() if value.data_ptr() in seen else value  # the format refuses shared memory
        seen.add(value.data_ptr())
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={"offramp": json.dumps(asdict(description))})


def load_network(path: Path) -> tuple[EarlyExitNetwork, Description]:
    """Return the network in evaluation mode, and its description. Raises InputError for a missing or foreign file, and
    for a network of a factory that ./params.yaml does not name.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except FileNotFoundError:
        raise InputError(f"there is no {path}; run `dvc repro train`") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a readable safetensors file: {error}") from None
    if "offramp" not in metadata:
        raise InputError(f"{path} does not say which network it holds; it was not written by the train stage")
    try:
        description = Description(**json.loads(metadata["offramp"]))
        if description.network == "factory":
            require_named(description.arguments.get("factory"), path)
        network = description.build()
    except InputError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:  # of a description that was not written here
        raise InputError(f"{path} describes no network that can be built: {error}") from None
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(f"{path} does not fit {description.network}: {' '.join(str(error).split())}") from None
    return network.eval(), description
