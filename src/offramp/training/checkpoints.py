"""What a killed run needs to go on: written after every epoch, read at the start."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from offramp.files import replacing
from offramp.networks.early_exit import EarlyExitNetwork
from offramp.training.history import History


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
