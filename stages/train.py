"""Train the chosen network on data/prepared, or load its weights, and write models/network.safetensors.

A run that was killed goes on from its last finished epoch when nothing that shapes it has changed.
"""

import sys
import time
from pathlib import Path
from typing import Any

import torch

from offramp.data.prepared import Split, read_split
from offramp.networks.device import set_up
from offramp.networks.early_exit import EarlyExitNetwork
from offramp.networks.file import Description, save_network
from offramp.networks.given_weights import load_weights
from offramp.networks.params import Definition, Model, Models
from offramp.networks.training.checkpoint import COLUMNS, History, run_digest
from offramp.networks.training.examples import read_examples
from offramp.networks.training.loop import evaluate, train
from offramp.networks.training.params import Train, require_start, seen_images_warning
from offramp.networks.training.phases import start
from offramp.project.errors import InputError
from offramp.project.files import write_json
from offramp.project.sections import Compute, Section, Seed, StageParams, chosen
from offramp.project.stage import run
from offramp.project.tables import write_table

PREPARED = {split: Path(f"data/prepared/{split}.parquet") for split in ("train", "val")}


class Params(StageParams):
    seed: Seed
    compute: Compute
    model: Model
    models: Models
    train: Train


def main() -> None:
    params = Params.read()
    definition = chosen(params.models, params.model.name, "model.name", "models")
    device = set_up(params.compute.device, params.compute.threads)
    splits = {name: read_split(path) for name, path in PREPARED.items()}
    val = splits["val"]
    warning = seen_images_warning(definition, params.model.name, val.dataset, val.val_from)
    if warning is not None:
        print(warning, file=sys.stderr)
    description = Description(
        model=params.model.name,
        **definition.architecture._asdict(),
        image_shape=list(splits["train"].image_shape),
        classes=splits["train"].classes,
    )
    torch.manual_seed(params.seed)
    try:
        require_start(params.train, definition, params.model.name)
        network = description.build()
        loss_weights = definition.loss_weights(len(network.exits))
    except ValueError as error:
        raise InputError(f"model {params.model.name}: {error}") from None
    if definition.weights is not None:
        history = _load(network, Path(definition.weights).expanduser(), val, device)
        _write(network, description, history, {"epochs": 0})
    else:
        _train(params, definition, network, loss_weights, splits, device, description)


def _load(network: EarlyExitNetwork, weights: Path, val: Split, device: torch.device) -> History:
    """Load weights instead of training, and measure them on the validation split."""
    begin = time.perf_counter()
    load_weights(network, weights)
    print(f"loaded {weights}; nothing is trained")
    network.place(device)
    history = History()
    history.add(0, "loaded", "val", network.exits, *evaluate(network, read_examples(val).place(device)))
    history.seconds = time.perf_counter() - begin
    _report(0, history)
    return history


def _train(
    params: Params,
    definition: Definition,
    network: EarlyExitNetwork,
    loss_weights: list[float],
    splits: dict[str, Split],
    device: torch.device,
    description: Description,
) -> None:
    start(network, definition, params.train)
    sections: dict[str, Section | int] = {"seed": params.seed, "compute": params.compute, "train": params.train}
    checkpoint = Path(f"models/.train-{run_digest(sections, definition, device, PREPARED.values())}.pt")
    examples = {name: read_examples(split) for name, split in splits.items()}
    history = train(network, examples, loss_weights, params.train, params.seed, device, checkpoint, after_epoch=_report)
    epochs = {"epochs": params.train.epochs, "mode": params.train.mode}
    if params.train.mode == "two_phase":
        epochs["backbone_epochs"] = params.train.backbone_epochs
    _write(network, description, history, epochs)
    checkpoint.unlink(missing_ok=True)


def _report(epoch: int, history: History) -> None:
    exits = history.last("val")
    accuracies = " ".join(f"{row['accuracy']:.3f}" for row in exits.values())
    which = "the exits" if len(exits) > 1 else f"{next(iter(exits))}"
    print(f"epoch {epoch}: validation accuracy at {which} {accuracies}, {history.seconds:.0f} s", flush=True)


def _write(network: EarlyExitNetwork, description: Description, history: History, epochs: dict[str, Any]) -> None:
    save_network(Path("models/network.safetensors"), network, description)
    exits = {name: {"val_accuracy": row["accuracy"]} for name, row in history.last("val").items()}
    write_table(Path("plots/training.csv"), COLUMNS, history.rows)
    write_json(Path("metrics/training.json"), epochs | {"seconds": round(history.seconds, 1), "exits": exits})


if __name__ == "__main__":
    run(main)
