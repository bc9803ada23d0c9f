"""The train stage as a script: weights loaded instead of training, training started from weights, refusals."""

import csv
import importlib
import json
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import edit_params

from offramp.commands.main import main
from offramp.data.prepared import Batch, write_split
from offramp.networks.file import load_network
from offramp.networks.params import BranchyNet, Factory
from offramp.networks.registry import build
from offramp.networks.training import phases as starting
from offramp.networks.training.checkpoint import run_digest
from offramp.networks.training.params import Train
from offramp.project.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
CHANNELS = [2, 2, 4]


pytestmark = pytest.mark.usefixtures("one_thread")  # networks this small lose by waiting for a second one


def network(seed=0):
    torch.manual_seed(seed)
    return build("branchynet", {"channels": CHANNELS}, (3, 24, 24), 3)


def same(first, second):
    second = second.state_dict()
    return all(torch.equal(tensor, second[name]) for name, tensor in first.state_dict().items())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the train stage runs: params.yaml, prepared images whose val rows come from train, given weights."""
    rng = np.random.default_rng(1)
    for name, about in (("train", None), ("val", {"val_from": "train"})):
        batch = Batch(rng.integers(0, 256, (24, 24, 24, 3), dtype=np.uint8), np.arange(24) % 3)
        path = tmp_path / f"data/prepared/{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_split(path, [batch], "mine", name, ["a", "b", "c"], about=about)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    file = tmp_path / "params.yaml"
    edit_params(file, "compute", {"device": "cpu", "threads": 1})
    edit_params(file, "models.branchynet.channels", CHANNELS)
    edit_params(file, "train", {"epochs": 1, "batch_size": 12})
    torch.save(network(1).state_dict(), tmp_path / "given.pt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    return tmp_path


def stage():
    """Run stages/train.py as a script in this process."""
    runpy.run_path(str(ROOT / "stages/train.py"), run_name="__main__")


def test_the_stage_loads_weights_instead_of_training_and_warns(folder, capsys):
    edit_params(folder / "params.yaml", "models.branchynet.weights", "given.pt")
    stage()
    assert same(network(1), load_network(folder / "models/network.safetensors")[0])
    measured = json.loads((folder / "metrics/training.json").read_text())
    assert list(measured) == ["epochs", "seconds", "exits"]
    assert measured["epochs"] == 0
    rows = list(csv.DictReader((folder / "plots/training.csv").open()))
    assert [(row["epoch"], row["phase"], row["split"]) for row in rows] == [("0", "loaded", "val")] * 6
    assert [float(row["accuracy"]) for row in rows] == [one["val_accuracy"] for one in measured["exits"].values()]
    error = capsys.readouterr().err
    assert error.startswith(
        "warning: models.branchynet.weights come from elsewhere, and validation rows are taken from"
    )
    assert "set datasets.mine.val_from: test" in error
    assert error.count("\n") == 1


def test_the_stage_starts_from_initial_weights_and_says_what_is_random(folder, capsys):
    state = network(1).state_dict()
    torch.save({name: one for name, one in state.items() if not name.startswith("branch3.fc")}, folder / "given.pt")
    edit_params(folder / "params.yaml", "models.branchynet.initial_weights", "given.pt")
    edit_params(folder / "params.yaml", "train.mode", "heads_only")
    stage()
    trained = load_network(folder / "models/network.safetensors")[0].state_dict()
    assert torch.equal(trained["bn6.running_mean"], state["bn6.running_mean"])
    assert not torch.equal(trained["branch1.fc.weight"], state["branch1.fc.weight"])
    out = capsys.readouterr()
    assert "training starts from given.pt; random at first: branch3.fc.weight, branch3.fc.bias" in out.out
    assert "models.branchynet.initial_weights come from elsewhere" in out.err
    assert json.loads((folder / "metrics/training.json").read_text())["mode"] == "heads_only"
    assert not list((folder / "models").glob(".train-*"))


def refused(capsys):
    with pytest.raises(SystemExit) as caught:
        stage()
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_heads_only_without_a_trained_backbone_is_refused_by_stage_and_check(folder, capsys, monkeypatch):
    edit_params(folder / "params.yaml", "train.mode", "heads_only")
    monkeypatch.setattr(sys, "argv", ["train"])
    wanted = "set models.branchynet.initial_weights, or pretrained: true of a torchvision backbone"
    assert wanted in refused(capsys)
    assert main(["check", "params.yaml"]) == 2
    assert wanted in capsys.readouterr().err


def test_check_warns_of_weights_whose_training_images_validate(folder, capsys):
    content = yaml.safe_load((folder / "params.yaml").read_text())
    tables = {"source": "parquet", "train": "data/prepared/train.parquet", "test": "data/prepared/val.parquet"}
    content["datasets"]["mine"] = tables | {"val": 3, "image_size": 24}
    content["data"]["name"] = "mine"
    content["models"]["branchynet"]["weights"] = "given.pt"
    (folder / "params.yaml").write_text(yaml.safe_dump(content))
    assert main(["check", "params.yaml"]) == 0
    assert "set datasets.mine.val_from: test" in capsys.readouterr().err
    edit_params(folder / "params.yaml", "datasets.mine", tables | {"val": 3, "image_size": 24, "val_from": "test"})
    assert main(["check", "params.yaml"]) == 0
    assert capsys.readouterr().err == ""


def test_a_checkpoint_belongs_to_everything_that_shapes_the_run(folder):
    images, plain = [folder / "data/prepared/train.parquet"], BranchyNet(network="branchynet")
    cpu = torch.device("cpu")
    settings = {"seed": 1, "train": Train()}
    digests = [run_digest(settings, plain, cpu, images)]
    assert digests[0] == run_digest(dict(settings), BranchyNet(network="branchynet"), cpu, images)
    digests.append(run_digest(settings | {"seed": 2}, plain, cpu, images))
    digests.append(run_digest(settings | {"train": Train(amp=False)}, plain, cpu, images))
    digests.append(run_digest(settings, plain, torch.device("cuda"), images))
    initial = BranchyNet(network="branchynet", initial_weights="given.pt")
    digests.append(run_digest(settings, initial, cpu, images))
    torch.save(network(3).state_dict(), folder / "given.pt")
    digests.append(run_digest(settings, initial, cpu, images))
    images[0].write_bytes(images[0].read_bytes() + b"\0")
    digests.append(run_digest(settings, plain, cpu, images))
    (folder / "my_networks.py").write_text("first = 1\n")
    sys.path.insert(0, str(folder))
    try:
        importlib.import_module("my_networks")
        digests.append(run_digest(settings, Factory(factory="my_networks:make"), cpu, images))
        (folder / "my_networks.py").write_text("second = 2\n")
        digests.append(run_digest(settings, Factory(factory="my_networks:make"), cpu, images))
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("my_networks", None)
    assert len(set(digests)) == len(digests)


def test_heads_only_refuses_to_freeze_a_last_head_that_learnt_nothing():
    """As torchvision's weights for 1,000 classes leave it; side heads and counters may be new."""
    starting._require_trained_backbone(network(), "them", ["branch1.fc.weight", "bn1.num_batches_tracked"])
    with pytest.raises(InputError, match=r"heads_only freezes .* and them leaves fc5\.weight at random values"):
        starting._require_trained_backbone(network(), "them", ["branch1.fc.weight", "fc5.weight"])
