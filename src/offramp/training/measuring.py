"""Loss and accuracy of exits, in evaluation mode and float32."""

import torch
from torch import Tensor
from torch.nn import functional

from offramp.networks.early_exit import EarlyExitNetwork, to_input
from offramp.training.examples import Examples

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
