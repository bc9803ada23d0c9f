import numpy as np
import pytest
import torch

from offramp.networks import build
from offramp.prepared import Batch, write_split
from offramp.training import Schedule, read_examples, train

CPU = torch.device("cpu")


@pytest.fixture
def examples(tmp_path, rng):
    images = rng.integers(0, 256, (96, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(96) % 2
    images[labels == 1, :16] //= 4  # a class that is dark above: learnable at once
    splits = {}
    for name, rows in (("train", slice(0, 64)), ("val", slice(64, 96))):
        batch = Batch(images[rows], labels[rows])
        splits[name] = read_examples(write_split(tmp_path / f"{name}.parquet", [batch], "x", name, ["a", "b"]))
    return splits


def run(examples, checkpoint, epochs=3, after_epoch=lambda *_: None, seed=5):
    torch.manual_seed(seed)
    network = build("branchynet", {"channels": (4, 4, 8)}, (3, 32, 32), 2)
    schedule = Schedule(epochs, 16, 0.01, 0.01)
    history = train(network, examples, [1.0] * 6, schedule, seed, CPU, checkpoint, after_epoch)
    return network.state_dict(), history


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_training_twice_gives_the_same_weights(examples, tmp_path):
    assert same(run(examples, tmp_path / "a.pt")[0], run(examples, tmp_path / "b.pt")[0])
    assert not same(run(examples, tmp_path / "c.pt")[0], run(examples, tmp_path / "d.pt", seed=6)[0])


def test_a_killed_run_goes_on_and_ends_with_the_same_weights(examples, tmp_path, capsys):
    class KilledError(Exception):
        pass

    def kill(epoch, _):
        if epoch == 2:
            raise KilledError

    with pytest.raises(KilledError):
        run(examples, tmp_path / "killed.pt", after_epoch=kill)
    resumed, history = run(examples, tmp_path / "killed.pt")
    whole, whole_history = run(examples, tmp_path / "whole.pt")
    assert "goes on after epoch 2" in capsys.readouterr().out
    assert same(resumed, whole)
    assert history.rows == whole_history.rows


def test_history_has_a_row_per_epoch_split_and_exit_and_training_learns(examples, tmp_path):
    _, history = run(examples, tmp_path / "a.pt", epochs=6)
    assert len(history.rows) == 6 * 2 * 6
    assert list(history.last("val")) == [f"exit_{k}" for k in range(1, 7)]
    first = next(row for row in history.rows if row["split"] == "train" and row["exit"] == "exit_6")
    assert history.last("train")["exit_6"]["loss"] < first["loss"]


def test_an_exit_of_weight_zero_is_not_trained(examples, tmp_path):
    torch.manual_seed(1)
    network = build("branchynet", {"channels": (4, 4, 8)}, (3, 32, 32), 2)
    before = network.branch3.fc.weight.detach().clone()
    weights = [1.0, 1.0, 0.0, 1.0, 1.0, 1.0]
    train(network, examples, weights, Schedule(1, 16, 0.01, 0.0), 1, CPU, tmp_path / "z.pt", lambda *_: None)
    assert torch.equal(network.branch3.fc.weight, before)
    assert not torch.equal(network.fc5.weight, before[:2, :128])


@pytest.mark.parametrize(("batch_size", "epochs"), [(21, 2), (63, 1), (64, 1)])
def test_a_single_sample_left_over_and_a_single_step_do_not_stop_training(examples, tmp_path, batch_size, epochs):
    network = build("branchynet", {"channels": (4, 4, 8)}, (3, 32, 32), 2)
    schedule = Schedule(epochs, batch_size, 0.01, 0.0)
    history = train(network, examples, [1.0] * 6, schedule, 1, CPU, tmp_path / "x.pt", lambda *_: None)
    assert history.last("val")["exit_6"]["epoch"] == epochs
