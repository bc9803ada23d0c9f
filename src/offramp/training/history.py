"""What training measured, epoch by epoch."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

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
