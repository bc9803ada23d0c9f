"""Training all exits jointly on the weighted sum of their cross-entropies.

AdamW with one cycle of the learning rate. Every epoch draws its order and its dropout from a generator of its own, so
a run that is killed goes on from its last finished epoch and ends with the same weights as one that was not. The last
epoch's weights are kept: validation accuracy is reported and chooses nothing, because calibration needs that split
untouched.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from offramp.files import replacing
from offramp.networks.early_exit import EarlyExitNetwork, to_input
from offramp.prepared import Split, read_batches

READ_ROWS = 1000  # images decoded at once


@dataclass(frozen=True)
class Examples:
    """Images (n, channels, height, width) as uint8, channels last in memory, and labels (n,)."""

    images: Tensor
    labels: Tensor


def read_examples(split: Split) -> Examples:
    """Decode a whole split into memory, where every epoch reads it: 3 KB per 32×32 image."""
    height, width = split.image_shape[1:]
    images = np.empty((split.rows, height, width, split.image_shape[0]), np.uint8)
    labels = np.empty(split.rows, np.int64)
    end = 0
    for sample, batch, label in read_batches(split, READ_ROWS):
        start, end = end, end + len(sample)
        images[start:end], labels[start:end] = batch, label
    return Examples(torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels))


@dataclass(frozen=True)
class Schedule:
    """Passes over the training split, samples per step, the peak learning rate, AdamW's weight decay."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float


@dataclass
class History:
    """One row per epoch, split and exit: cross-entropy in nats and accuracy; and the seconds all epochs took."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0

    def last(self, split: str) -> dict[str, dict[str, Any]]:
        """Return the newest row of `split` per exit, exits in order."""
        return {row["exit"]: row for row in self.rows if row["split"] == split}


def train(
    network: EarlyExitNetwork,
    examples: dict[str, Examples],
    exit_weights: Sequence[float],
    schedule: Schedule,
    seed: int,
    device: torch.device,
    checkpoint: Path,
    after_epoch: Callable[[int, History], None],
) -> History:
    """Train `network` in place on examples["train"], measure it on examples["val"] after every epoch.

    `exit_weights` (exits,) weigh the losses. `checkpoint` is rewritten after every epoch and read at the start when it
    exists; its caller names it after everything that shapes the run, and removes it once the results are safe.
    """
    network.place(device)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True
    )
    steps = len(_batches(torch.arange(len(examples["train"].labels)), schedule.batch_size))
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, schedule.learning_rate, total_steps=schedule.epochs * steps)
    parts = {"network": network, "optimiser": optimiser, "cycle": cycle}
    first_epoch, history = _resume(checkpoint, parts, device)
    weights = torch.tensor(exit_weights, device=device)
    for epoch in range(first_epoch, schedule.epochs + 1):
        start = time.perf_counter()
        order = _seed_epoch(seed, epoch, len(examples["train"].labels))
        progress = f"epoch {epoch}/{schedule.epochs}"
        measured = _run_epoch(
            network, examples["train"], weights, order, schedule.batch_size, optimiser, cycle, progress
        )
        history.rows += _rows(epoch, "train", network.exits, *measured)
        history.rows += _rows(epoch, "val", network.exits, *evaluate(network, examples["val"]))
        history.seconds += time.perf_counter() - start
        _save(checkpoint, parts, epoch, history)
        after_epoch(epoch, history)
    return history


def evaluate(network: EarlyExitNetwork, examples: Examples, batch_size: int = 64) -> tuple[Tensor, Tensor]:
    """Return the mean loss and the accuracy of every exit, each (exits,), in evaluation mode."""
    network.eval()
    with torch.inference_mode():
        losses, correct = zip(
            *(
                _losses(network, examples.images[rows], examples.labels[rows])
                for rows in torch.arange(len(examples.labels)).split(batch_size)
            ),
            strict=True,
        )
    return torch.cat(losses, 1).mean(1), torch.cat(correct, 1).float().mean(1)


def _run_epoch(
    network: EarlyExitNetwork,
    examples: Examples,
    weights: Tensor,
    order: Tensor,
    batch_size: int,
    optimiser: torch.optim.Optimizer,
    cycle: torch.optim.lr_scheduler.LRScheduler,
    progress: str,
) -> tuple[Tensor, Tensor]:
    """One pass in `order`; return the mean loss and accuracy of every exit while training (dropout on)."""
    network.train()
    total_loss, total_correct = torch.zeros_like(weights), torch.zeros_like(weights)
    batches = _batches(order, batch_size)
    for rows in tqdm(batches, progress, unit="batch", disable=None, leave=False):
        losses, correct = _losses(network, examples.images[rows], examples.labels[rows])  # (exits, batch)
        optimiser.zero_grad()
        (weights @ losses.mean(1)).backward()
        optimiser.step()
        cycle.step()
        total_loss += losses.detach().sum(1)
        total_correct += correct.sum(1)
    n_seen = sum(len(rows) for rows in batches)
    return total_loss / n_seen, total_correct / n_seen


def _batches(order: Tensor, batch_size: int) -> tuple[Tensor, ...]:
    """Split `order` (samples,); a single sample left over is dropped, because batch norm cannot train on one."""
    batches = order.split(batch_size)
    return batches[:-1] if len(batches) > 1 and len(batches[-1]) == 1 else batches


def _losses(network: EarlyExitNetwork, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return every exit's cross-entropy and whether its answer is right, each (exits, samples)."""
    device = next(network.parameters()).device
    labels = labels.to(device)
    exit_logits = network(to_input(images.to(device)))
    losses = torch.stack([functional.cross_entropy(logits, labels, reduction="none") for logits in exit_logits])
    return losses, torch.stack([logits.argmax(1) == labels for logits in exit_logits])


def _seed_epoch(seed: int, epoch: int, n: int) -> Tensor:
    """Seed everything random in an epoch and return the order of its samples (n,)."""
    first, second = np.random.SeedSequence([seed, epoch]).generate_state(2)
    torch.manual_seed(int(first))  # dropout, on the CPU and on every accelerator
    return torch.randperm(n, generator=torch.Generator().manual_seed(int(second)))


def _rows(epoch: int, split: str, exits: list[str], loss: Tensor, accuracy: Tensor) -> list[dict[str, Any]]:
    return [
        {"epoch": epoch, "split": split, "exit": name, "loss": round(one_loss, 6), "accuracy": round(one_accuracy, 6)}
        for name, one_loss, one_accuracy in zip(exits, loss.tolist(), accuracy.tolist(), strict=True)
    ]


def _resume(checkpoint: Path, parts: dict[str, Any], device: torch.device) -> tuple[int, History]:
    if not checkpoint.exists():
        return 1, History()
    saved = torch.load(checkpoint, map_location=device, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(saved[name])
    print(f"goes on after epoch {saved['epoch']}, found in {checkpoint}")
    return saved["epoch"] + 1, History(saved["rows"], saved["seconds"])


def _save(checkpoint: Path, parts: dict[str, Any], epoch: int, history: History) -> None:
    states = {name: part.state_dict() for name, part in parts.items()}
    with replacing(checkpoint) as temporary:
        torch.save({**states, "epoch": epoch, "rows": history.rows, "seconds": history.seconds}, temporary)
