"""What tests of bundles share: a tiny untrained network exported once per process, images, and policies for them."""

import functools
import math
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from offramp.networks.file import Description, save_network
from offramp.networks.registry import build
from offramp.policies.policy import Policy, midway
from offramp.runtime.bundle.graph import Graph, read_graph
from offramp.runtime.engines.onnx import OnnxEngine
from offramp.scores.activation import ACTIVATION, Activation
from offramp.scores.change import CHANGE, Change, n_change_features
from offramp.scores.scoring import Scoring

EXITS = [f"exit_{k}" for k in range(1, 7)]
CLASSES = ["cat", "dog", "Möwe"]
SHAPE = [3, 24, 24]
WARM = dict(zip(EXITS, (0.5, 2.0, 1.0, 3.0, 0.7, 1.5), strict=True))


@functools.cache
def tiny_graph() -> Graph:
    """Return a network that went through a .safetensors file, as `offramp export` reads it."""
    torch.manual_seed(0)
    arguments = {"channels": [4, 4, 8]}
    network = build("branchynet", arguments, SHAPE, len(CLASSES))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.safetensors"
        save_network(path, network, Description("tiny", "branchynet", arguments, SHAPE, CLASSES))
        return read_graph(path)


@functools.cache
def some_images(n: int = 48) -> np.ndarray:
    """Return images of all contrasts and colours (n, 24, 24, 3)."""
    rng = np.random.default_rng(3)
    level, contrast = rng.uniform(0, 255, (n, 1, 1, 3)), rng.uniform(0, 200, (n, 1, 1, 1))
    return (level + contrast * rng.normal(size=(n, 24, 24, 3))).clip(0, 255).astype(np.uint8)


@functools.cache
def some_logits() -> np.ndarray:
    return OnnxEngine(tiny_graph().model, threads=2).exit_logits(some_images())


def policy(score: str = "entropy", temperature=None, enabled=(1, 1, 1, 1, 1), **about) -> Policy:
    """Return a policy under which about half of `some_images` leave at each enabled side exit.

    A threshold lies in the widest gap near the median, so that a last bit decides nothing.
    """
    temperature = temperature or dict.fromkeys(EXITS, 1.0)
    scoring = Scoring(score, temperature, some_change() if score == CHANGE else None)
    if score == ACTIVATION:  # takes no temperature
        scoring = replace(Scoring.plain(score, EXITS), fitted=Activation(tuple(np.linspace(0.5, 2.0, 6).tolist())))
    uncertainty = scoring(some_logits())
    limits = [widest_gap(uncertainty[:, k]) if on else None for k, on in enumerate(enabled)]
    return Policy((*limits, math.inf), scoring=scoring, title="mine@1", **about)


def some_change() -> Change:
    rng = np.random.default_rng(5)
    weights = tuple(tuple(rng.normal(size=n_change_features(k, len(CLASSES))).tolist()) for k in range(5))
    return Change(weights, tuple(rng.normal(size=5).tolist()))


def widest_gap(values: np.ndarray) -> float:
    middle = np.sort(values)[len(values) // 4 : 3 * len(values) // 4]
    place = np.diff(middle).argmax()
    return midway(float(middle[place]), float(middle[place + 1]))
