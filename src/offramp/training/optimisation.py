"""The optimiser and the course of its learning rate."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler, OneCycleLR

from offramp.params.training import Train


def optimiser_of(settings: Train, parameters: Sequence[nn.Parameter]) -> Optimizer:
    """Return AdamW, Adam (whose decay is part of the gradient) or SGD with momentum, in its fused form."""
    rate, decay = settings.learning_rate, settings.weight_decay
    match settings.optimiser:
        case "adamw":
            return AdamW(parameters, lr=rate, weight_decay=decay, fused=True)
        case "adam":
            return Adam(parameters, lr=rate, weight_decay=decay, fused=True)
        case "sgd":
            return SGD(parameters, lr=rate, momentum=settings.momentum, weight_decay=decay, fused=True)


def schedule_of(settings: Train, optimiser: Optimizer, steps: int) -> LRScheduler:
    """Return the schedule of a phase of `steps` steps, to be stepped after each of them.

    One cycle after Smith & Topin (2019): up to the rate in 30 % of the steps, then down to nearly nothing. It moves
    Adam's first beta against the rate; SGD's momentum stays what `train.momentum` says.
    """
    match settings.schedule:
        case "one_cycle":
            moves = settings.optimiser != "sgd"
            return OneCycleLR(optimiser, settings.learning_rate, total_steps=steps, cycle_momentum=moves)
        case "cosine":
            return CosineAnnealingLR(optimiser, T_max=steps)
        case "constant":
            return ConstantLR(optimiser, factor=1.0)


def uses_bfloat16(settings: Train, device: torch.device) -> bool:
    """Whether steps run under bfloat16 autocast: with `train.amp`, on a CUDA device that has it. Never on a CPU."""
    return settings.amp and device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
