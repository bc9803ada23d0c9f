"""Networks that were not written for early exit, cut and run on every engine: results/backbones/result.json.

Command: `python -m experiments.backbones`. Classifiers of torchvision and a network of one's own (`own_network`),
untrained but for their batch norm's statistics, are compared on 256 test images of the embedded data set: a
classifier's last exit with the classifier itself, its MACs with the sum over the segments, ONNX and INT8 logits with
PyTorch's, and live answers with replay of the same engine's cache, thresholds at the medians. What is compared is
arithmetic; how good such networks become is another question.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from offramp.data.sources import cluttered_digits
from offramp.networks.device import set_up
from offramp.networks.early_exit import EarlyExitNetwork
from offramp.networks.file import Description
from offramp.networks.macs import count_macs
from offramp.networks.torchvision import classifier_of
from offramp.policies.policy import Policy, midway
from offramp.project.files import write_json
from offramp.project.host import describe
from offramp.runtime.benchmark.agreement import compare_live
from offramp.runtime.engines.exporting import export
from offramp.runtime.engines.onnx import OnnxEngine
from offramp.runtime.engines.pieces import Engine
from offramp.runtime.engines.torch import TorchEngine
from offramp.runtime.int8.quantising import quantise
from offramp.runtime.live import Runtime
from offramp.scores.scoring import Scoring

NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet18": ("torchvision", {"backbone": "resnet18", "exits": ["layer1", "layer2", "layer3"]}),
    "mobilenet_v3_small": ("torchvision", {"backbone": "mobilenet_v3_small", "exits": ["features.3", "features.8"]}),
    "vit_b_16": (
        "torchvision",
        {"backbone": "vit_b_16", "exits": ["encoder.layers.encoder_layer_3", "encoder.layers.encoder_layer_7"]},
    ),
    "own_network": ("factory", {"factory": "experiments.own_network:convolutions", "arguments": {"channels": 16}}),
}
SHAPE, CLASSES = (3, 32, 32), 10
IMAGES, BATCH, THREADS, SEED = 256, 32, 2, 17
Images = NDArray[np.uint8]


def main() -> None:
    device = set_up("cpu", THREADS)
    images, others = pictures("test"), pictures("val")
    rows = {}
    for name, (network, arguments) in NETWORKS.items():
        torch.manual_seed(SEED)
        description = Description(name, network, arguments, list(SHAPE), cluttered_digits.CLASSES)
        made = description.build()
        settle(made, others)
        rows[name] = {"network": network, **arguments, **costs(made)}
        if network == "torchvision":
            rows[name] |= uncut(made, arguments["backbone"], images)
        graph = export(made, description, "0" * 64)
        ours: list[Engine] = [TorchEngine(made, device), OnnxEngine(graph, THREADS)]
        ours.append(OnnxEngine(quantise(graph, others, threads=THREADS), THREADS, "onnx_int8"))
        rows[name]["engines"] = engines(ours, images)
        print(f"{name}: {rows[name]}", flush=True)
    result = {
        "command": "python -m experiments.backbones",
        "host": describe(),
        "threads": THREADS,
        "images": IMAGES,
        "batch_size": BATCH,
        "networks": rows,
    }
    write_json(Path("results/backbones/result.json"), result)


def pictures(split: str) -> Images:
    """Return images (256, 32, 32, 3) of a split of the embedded data set."""
    return np.concatenate([batch.images for batch in cluttered_digits.render(split, IMAGES, SEED)])


def settle(network: EarlyExitNetwork, images: Images) -> None:
    """Give batch norms the statistics of these images, and linear layers of zeros, as ViTs end, random weights."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.05)
    with torch.no_grad():
        for batch in _batches(images):
            network.train()(_floats(batch))
    network.eval()


def costs(network: EarlyExitNetwork) -> dict[str, Any]:
    segment, head = count_macs(network, SHAPE)
    return {
        "macs": {name: {"segment": segment[k], "head": head[k]} for k, name in enumerate(network.exits)},
        "full": sum(segment) + head[-1],
    }


def uncut(network: EarlyExitNetwork, name: str, images: Images) -> dict[str, Any]:
    """Return the MACs of torchvision's own classifier, and how far its logits are from those of the last exit."""
    classifier = classifier_of(name, SHAPE, CLASSES)
    state = {key: value for key, value in network.state_dict().items() if not key.startswith("exit_heads.")}
    classifier.load_state_dict(state)
    whole = EarlyExitNetwork()
    whole.stages = [(classifier.eval(), nn.Identity())]
    with torch.inference_mode():
        batches = [_floats(batch) for batch in _batches(images)]
        differences = [(network(batch)[-1] - classifier(batch)).abs().max().item() for batch in batches]
    return {"macs_uncut": count_macs(whole, SHAPE)[0][0], "largest_difference_to_uncut": max(differences)}


def engines(ours: list[Engine], images: Images) -> dict[str, Any]:
    """Return, per engine, logits against those of the first one and live answers against replay."""
    exact: NDArray[np.float32] | None = None
    rows = {}
    for engine in ours:
        logits = np.concatenate([engine.exit_logits(batch) for batch in _batches(images)])
        exact = logits if exact is None else exact
        error = np.sqrt(np.square(logits - exact).mean(axis=(0, 2))) / exact.std(axis=0).mean(axis=1)
        rows[engine.name] = {
            "largest_difference": float(np.abs(logits - exact).max()),
            "error_by_exit": [float(value) for value in error],  # root mean square, share of the logits' spread
            "same_answers": float((logits.argmax(axis=2) == exact.argmax(axis=2)).mean()),
            **live(engine, logits, images),
        }
    return rows


def live(engine: Engine, logits: NDArray[np.float32], images: Images) -> dict[str, Any]:
    scoring = Scoring.plain("entropy", [f"exit_{k + 1}" for k in range(logits.shape[1])])
    ordered = np.sort(scoring(logits)[:, :-1], axis=0)[len(logits) // 2 - 1 : len(logits) // 2 + 1]
    thresholds = (*(midway(float(low), float(high)) for low, high in ordered.T), math.inf)
    runtime = Runtime(engine, Policy(thresholds, scoring=scoring))
    answers = [runtime(batch) for batch in _batches(images)]
    label, taken = (np.concatenate([getattr(part, what) for part in answers]) for what in ("label", "exit"))
    found = compare_live(label, taken, logits, Policy(thresholds, scoring=scoring), BATCH)
    shares = np.bincount(taken, minlength=logits.shape[1]) / len(taken)
    return {"exit_shares": [float(share) for share in shares], "mismatches": found.mismatches}


def _batches(images: Images) -> Iterator[Images]:
    for start in range(0, len(images), BATCH):
        yield images[start : start + BATCH]


def _floats(images: Images) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2) / 255


if __name__ == "__main__":
    main()
