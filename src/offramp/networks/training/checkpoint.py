"""What training measured, epoch by epoch."""

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor

from offramp.networks.early_exit import EarlyExitNetwork
from offramp.networks.params import Definition, Factory
from offramp.project.files import replacing, sha256

COLUMNS = ["epoch", "phase", "split", "exit", "loss", "accuracy"]


@dataclass
class History:
    """One row per epoch, split and exit: cross-entropy in nats and accuracy; and the seconds all epochs took.

    Rows of split `train` are averages over the epoch's steps, dropout and augmentation on, and their loss is the one
    that is minimised, label smoothing included. In phase `backbone` only the last exit has rows.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, epoch: int, phase: str, split: str, exits: list[str], loss: Tensor, accuracy: Tensor) -> None:
        """Append the rows of one epoch and split; `loss` and `accuracy` are (exits,)."""
        for name, one_loss, one_accuracy in zip(exits, loss.tolist(), accuracy.tolist(), strict=True):
            row = {"epoch": epoch, "phase": phase, "split": split, "exit": name}
            self.rows.append(row | {"loss": round(one_loss, 6), "accuracy": round(one_accuracy, 6)})

    def last(self, split: str) -> dict[str, dict[str, Any]]:
        """Return the newest epoch's rows of `split` per exit, exits in order."""
        rows = [row for row in self.rows if row["split"] == split]
        return {row["exit"]: row for row in rows if row["epoch"] == rows[-1]["epoch"]}


@dataclass(frozen=True)
class Checkpoint:
    """A finished epoch, counted over all phases, with the optimiser and schedule of its phase as they then were."""

    epoch: int
    optimiser: dict[str, Any]
    schedule: dict[str, Any]


def save(path: Path, network: EarlyExitNetwork, checkpoint: Checkpoint, history: History) -> None:
    content = {"network": network.state_dict(), **vars(checkpoint), "rows": history.rows, "seconds": history.seconds}
    with replacing(path) as temporary:
        torch.save(content, temporary)


def load(path: Path, network: EarlyExitNetwork, history: History, device: torch.device) -> Checkpoint | None:
    """Bring `network` and `history` to where the checkpoint was written; None where there is none."""
    if not path.exists():
        return None
    saved = torch.load(path, map_location=device, weights_only=True)
    network.load_state_dict(saved["network"])
    history.rows, history.seconds = saved["rows"], saved["seconds"]
    print(f"goes on after epoch {saved['epoch']}, found in {path}")
    return Checkpoint(saved["epoch"], saved["optimiser"], saved["schedule"])


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
