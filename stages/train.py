"""Train the chosen network on data/prepared and write models/network.safetensors.

A run that was killed goes on from its last finished epoch when nothing that shapes it has changed.
"""

import hashlib
import json
from pathlib import Path

import torch

from offramp.device import set_up
from offramp.files import sha256, write_csv, write_json
from offramp.networks.weights import Description, save_network
from offramp.params.compute import Compute
from offramp.params.networks import Model, Models
from offramp.params.reading import Seed, StageParams, chosen
from offramp.params.training import Train
from offramp.prepared import read_split
from offramp.stage import run
from offramp.training import History, Schedule, read_examples, train

PREPARED = {split: Path(f"data/prepared/{split}.parquet") for split in ("train", "val")}
COLUMNS = ["epoch", "split", "exit", "loss", "accuracy"]


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
    description = Description(
        model=params.model.name,
        network=definition.network,
        arguments={"channels": definition.channels},
        image_shape=list(splits["train"].image_shape),
        classes=splits["train"].classes,
    )
    torch.manual_seed(params.seed)
    network = description.build()
    checkpoint = Path(f"models/.train-{_run_digest(params)}.pt")
    history = train(
        network,
        {name: read_examples(split) for name, split in splits.items()},
        definition.exit_weights,
        Schedule(**params.train.model_dump()),
        params.seed,
        device,
        checkpoint,
        after_epoch=_report,
    )
    save_network(Path("models/network.safetensors"), network, description)
    _write_history(history, params.train.epochs)
    checkpoint.unlink(missing_ok=True)


def _run_digest(params: Params) -> str:
    """Everything that shapes the weights: a checkpoint of another run must not be continued."""
    shape = params.model_dump() | {"torch": torch.__version__} | {name: sha256(path) for name, path in PREPARED.items()}
    return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()[:16]


def _report(epoch: int, history: History) -> None:
    accuracies = " ".join(f"{row['accuracy']:.3f}" for row in history.last("val").values())
    print(f"epoch {epoch}: validation accuracy at the exits {accuracies}, {history.seconds:.0f} s", flush=True)


def _write_history(history: History, epochs: int) -> None:
    exits = {
        name: {"val_accuracy": row["accuracy"], "val_loss": row["loss"]} for name, row in history.last("val").items()
    }
    write_csv(Path("plots/training.csv"), COLUMNS, history.rows)
    write_json(Path("metrics/training.json"), {"epochs": epochs, "seconds": round(history.seconds, 1), "exits": exits})


if __name__ == "__main__":
    run(main)
