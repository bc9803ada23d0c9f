"""The training loop: phases, their epochs, their steps."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from tqdm import tqdm

from offramp.networks.early_exit import EarlyExitNetwork, to_input
from offramp.networks.training import checkpoint as checkpoints
from offramp.networks.training import examples as augmentation
from offramp.networks.training.checkpoint import Checkpoint, History
from offramp.networks.training.examples import Examples
from offramp.networks.training.params import Train
from offramp.networks.training.phases import Phase, optimiser_of, phases, schedule_of, uses_bfloat16


def train(
    network: EarlyExitNetwork,
    examples: dict[str, Examples],
    loss_weights: Sequence[float],
    settings: Train,
    seed: int,
    device: torch.device,
    checkpoint: Path,
    after_epoch: Callable[[int, History], None],
) -> History:
    """Train `network` in place on examples["train"], measure it on examples["val"] after every epoch.

    `loss_weights` (exits,) weigh the losses. Epochs are counted from 1 over all phases. `checkpoint` is rewritten after
    every epoch and read at the start when it exists; its caller names it after everything that shapes the run, and
    removes it once the results are safe. Leaves the network on `device`. Raises InputError for a mode that does not
    suit the network, and for a crop that does not suit the images.
    """
    plan = phases(settings, loss_weights)
    augmentation.require_fitting(settings.augment, examples["train"].images)
    network.place(device)
    examples = {split: part.place(device) for split, part in examples.items()}
    history = History()
    resumed = checkpoints.load(checkpoint, network, history, device)
    end = 0
    for phase in plan:
        start, end = end, end + phase.epochs
        done = resumed.epoch if resumed else 0
        if done >= end:
            continue
        with phase.ready(network):
            run = _PhaseRun(phase, network, examples, settings, seed)
            if resumed and done > start:
                run.optimiser.load_state_dict(resumed.optimiser)
                run.schedule.load_state_dict(resumed.schedule)
            for epoch in range(max(done, start) + 1, end + 1):
                run.epoch(epoch, end, history)
                checkpoints.save(checkpoint, network, run.checkpoint(epoch), history)
                after_epoch(epoch, history)
    return history


class _PhaseRun:
    """A phase with its optimiser and schedule."""

    optimiser: Optimizer
    schedule: LRScheduler

    def __init__(
        self, phase: Phase, network: EarlyExitNetwork, examples: dict[str, Examples], settings: Train, seed: int
    ) -> None:
        self.phase, self.network, self.examples, self.settings, self.seed = phase, network, examples, settings, seed
        self.device = device_of(network)
        self.exits = phase.exits(network)
        self.bfloat16 = uses_bfloat16(settings, self.device)
        self.loss_weights = torch.tensor(phase.loss_weights, dtype=torch.float32, device=self.device)
        self.optimiser = optimiser_of(settings, phase.parameters(network))
        steps = len(_batches(torch.arange(len(examples["train"])), settings.batch_size))
        self.schedule = schedule_of(settings, self.optimiser, phase.epochs * steps)

    def checkpoint(self, epoch: int) -> Checkpoint:
        return Checkpoint(epoch, self.optimiser.state_dict(), self.schedule.state_dict())

    def epoch(self, epoch: int, last: int, history: History) -> None:
        """Train for one pass, measure validation images, all of them after the phase's last epoch; keep both."""
        start = time.perf_counter()
        measured = self._pass(epoch, f"{self.phase.name}, epoch {epoch}/{last}")
        history.add(epoch, self.phase.name, "train", self.exits, *measured)
        val = self.examples["val"]
        loss, accuracy = evaluate(self.network, val if epoch == last else val.first(WATCHED))
        n_run = len(self.exits)  # the last of all: side heads that were never trained have nothing to report
        history.add(epoch, self.phase.name, "val", self.exits, loss[-n_run:], accuracy[-n_run:])
        history.seconds += time.perf_counter() - start

    def _pass(self, epoch: int, progress: str) -> tuple[Tensor, Tensor]:
        """One pass in the epoch's order; return the mean loss and accuracy of every exit that is run, (exits,) each.

        Sums stay on the device, so that no step waits for its result.
        """
        self.phase.train(self.network)
        order, drawn = self._seed(epoch)
        total_loss, total_correct = torch.zeros_like(self.loss_weights), torch.zeros_like(self.loss_weights)
        batches = _batches(order, self.settings.batch_size)
        for rows in tqdm(batches, progress, unit="batch", disable=None, leave=False):
            losses, correct = self._measure(rows, drawn)  # (exits, batch)
            self.optimiser.zero_grad()
            (self.loss_weights @ losses.mean(1)).backward()
            self.optimiser.step()
            self.schedule.step()
            total_loss += losses.detach().sum(1)
            total_correct += correct.sum(1)
        n_seen = sum(len(rows) for rows in batches)
        return total_loss / n_seen, total_correct / n_seen

    def _measure(self, rows: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        images, labels = self.examples["train"].batch(rows, self.device)
        if self.settings.augment.active:
            images = augmentation.apply(images, drawn[rows].to(self.device), self.settings.augment.crop)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            exit_logits = self.phase.logits(self.network, to_input(images))
        return measure([logits.float() for logits in exit_logits], labels, self.settings.label_smoothing)

    def _seed(self, epoch: int) -> tuple[Tensor, Tensor]:
        """Seed everything random in an epoch; return the order of its samples (n,) and their augmentation (n, 3).

        Both lie where the examples are: drawn on the CPU, so that every device sees the same ones.
        """
        n, device = len(self.examples["train"]), self.examples["train"].device
        dropout, order, augment = (int(word) for word in np.random.SeedSequence([self.seed, epoch]).generate_state(3))
        torch.manual_seed(dropout)  # on the CPU and on every accelerator
        drawn = augmentation.draw(self.settings.augment, n, torch.Generator().manual_seed(augment))
        return torch.randperm(n, generator=torch.Generator().manual_seed(order)).to(device), drawn.to(device)


def _batches(order: Tensor, batch_size: int) -> tuple[Tensor, ...]:
    """Split `order` (samples,); a single sample left over is dropped, because batch norm cannot train on one."""
    batches = order.split(batch_size)
    return batches[:-1] if len(batches) > 1 and len(batches[-1]) == 1 else batches


WATCHED = 500  # validation images measured between epochs, to see how training goes: all would take a sixth of the time
BATCH_SIZE = {"cpu": 64}  # larger batches are slower there
LARGE_BATCH = 512


def evaluate(network: EarlyExitNetwork, examples: Examples) -> tuple[Tensor, Tensor]:
    """Return the mean cross-entropy (nats) and the accuracy of every exit, each (exits,). Leaves evaluation mode on."""
    network.eval()
    device = device_of(network)
    losses, correct = [], []
    with torch.inference_mode():
        for rows in torch.arange(len(examples), device=examples.device).split(BATCH_SIZE.get(device.type, LARGE_BATCH)):
            images, labels = examples.batch(rows, device)
            one_losses, one_correct = measure(network(to_input(images)), labels)
            losses.append(one_losses)
            correct.append(one_correct)
    return torch.cat(losses, 1).mean(1), torch.cat(correct, 1).float().mean(1)


def measure(exit_logits: list[Tensor], labels: Tensor, label_smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return each exit's cross-entropy and whether its answer is right, each (exits, samples).

    With label smoothing ε the target is (1 − ε) on the label plus ε / C on every class (Szegedy et al., 2016).
    """
    losses = [
        functional.cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing)
        for logits in exit_logits
    ]
    return torch.stack(losses), torch.stack([logits.argmax(1) == labels for logits in exit_logits])


def device_of(network: EarlyExitNetwork) -> torch.device:
    return next(network.parameters()).device
