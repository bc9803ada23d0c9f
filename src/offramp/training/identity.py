"""What makes a training run the one that it is."""

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from pydantic import BaseModel

from offramp.files import sha256
from offramp.params.networks import Definition, Factory

LIBRARIES = ("torch", "torchvision")


def run_digest(
    sections: Mapping[str, BaseModel | int], definition: Definition, device: torch.device, images: Iterable[Path]
) -> str:
    """Return 16 hexadecimal digits of everything that shapes the weights: checkpoints of other runs are not continued.

    That is the parameters in `sections`, the network's definition, the files of prepared images and of initial
    weights, our own source and that of a factory's package as it is loaded, the libraries' versions, and the device.
    """
    files = [*images, *(Path(path).expanduser() for path in [definition.initial_weights] if path is not None)]
    packages = [
        "offramp",
        *([definition.factory.split(":")[0].split(".")[0]] if isinstance(definition, Factory) else []),
    ]
    shape = {
        "sections": {name: one.model_dump() if isinstance(one, BaseModel) else one for name, one in sections.items()},
        "definition": [type(definition).__name__, definition.model_dump()],
        "files": [sha256(path) for path in files],
        "source": {name: sha256(path) for package in packages for name, path in _loaded(package)},
        "libraries": {name: sys.modules[name].__version__ for name in LIBRARIES if name in sys.modules},
        "device": str(device),
    }
    return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()[:16]


def _loaded(package: str) -> list[tuple[str, Path]]:
    """Return the name and source file of every module of a package that is loaded."""
    modules = {name: module for name, module in sys.modules.items() if name.split(".")[0] == package}
    return [(name, Path(module.__file__)) for name, module in modules.items() if module.__file__]
