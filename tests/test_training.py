import math

import numpy as np
import pytest
import torch
from torch import nn

from offramp.data.prepared import Batch, write_split
from offramp.networks.early_exit import EarlyExitNetwork, side_head_names
from offramp.networks.training import examples as augmentation
from offramp.networks.training.examples import read_examples
from offramp.networks.training.loop import evaluate, measure, train
from offramp.networks.training.params import Augment, Train
from offramp.networks.training.phases import phases
from offramp.project.errors import InputError

CPU = torch.device("cpu")
SIDE = 8  # of images, pixels
SHORT = Train(epochs=3, batch_size=16, learning_rate=0.01)
TWO_PHASE = SHORT.model_copy(update={"mode": "two_phase", "epochs": 2, "backbone_epochs": 2})


pytestmark = pytest.mark.usefixtures("one_thread")  # networks this small lose by waiting for a second one


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    rng = np.random.default_rng(7)
    images = rng.integers(0, 256, (96, SIDE, SIDE, 3), dtype=np.uint8)
    labels = np.arange(96) % 2
    images[labels == 1, : SIDE // 2] //= 4  # a class that is dark above: learnable at once
    folder = tmp_path_factory.mktemp("examples")
    splits = {}
    for name, rows in (("train", slice(0, 64)), ("val", slice(64, 96))):
        batch = Batch(images[rows], labels[rows])
        splits[name] = read_examples(write_split(folder / f"{name}.parquet", [batch], "x", name, ["a", "b"]))
    return splits


class Tiny(EarlyExitNetwork):
    """Three exits; batch norm everywhere, dropout in the backbone."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, self.branch1 = nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), side_head(36)
        self.conv2, self.bn2, self.branch2 = nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), side_head(8)
        self.fc, self.bn3, self.dropout = nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.2)
        self.last = nn.Linear(8, 2)
        self.stages = [
            (nn.Sequential(self.conv1, nn.ReLU(), self.bn1, self.dropout), self.branch1),
            (nn.Sequential(self.conv2, nn.ReLU(), self.bn2), self.branch2),
            (nn.Sequential(nn.Flatten(), self.fc, nn.ReLU()), nn.Sequential(self.bn3, self.dropout, self.last)),
        ]


def side_head(n_features):
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(n_features), nn.Linear(n_features, 2))


def tiny(seed=5):
    torch.manual_seed(seed)
    return Tiny()


def run(examples, checkpoint, settings=SHORT, after_epoch=lambda *_: None, seed=5, network=None):
    network = network or tiny(seed)
    history = train(network, examples, [1.0] * 3, settings, seed, CPU, checkpoint, after_epoch)
    return network.state_dict(), history


def copied(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same(first, second, names=None):
    return all(torch.equal(first[name], second[name]) for name in names or first)


def test_training_twice_gives_the_same_weights(examples, tmp_path):
    settings = SHORT.model_copy(update={"epochs": 1, "augment": Augment(crop=2, flip=True)})
    assert same(run(examples, tmp_path / "a.pt", settings)[0], run(examples, tmp_path / "b.pt", settings)[0])
    assert not same(
        run(examples, tmp_path / "c.pt", settings)[0], run(examples, tmp_path / "d.pt", settings, seed=6)[0]
    )


class KilledError(Exception):
    pass


@pytest.mark.parametrize("killed_after", [1, 2, 3])
def test_a_killed_run_goes_on_in_its_phase_and_ends_with_the_same_weights(examples, tmp_path, capsys, killed_after):
    """Two epochs of the backbone, two of the exits: inside the first phase, at its end, inside the second."""

    def kill(epoch, _):
        if epoch == killed_after:
            raise KilledError

    with pytest.raises(KilledError):
        run(examples, tmp_path / "killed.pt", TWO_PHASE, kill)
    resumed, history = run(examples, tmp_path / "killed.pt", TWO_PHASE)
    whole, whole_history = run(examples, tmp_path / "whole.pt", TWO_PHASE)
    assert f"goes on after epoch {killed_after}" in capsys.readouterr().out
    assert same(resumed, whole)
    assert history.rows == whole_history.rows


def test_a_run_killed_after_its_last_epoch_trains_no_more(examples, tmp_path):
    settings = SHORT.model_copy(update={"epochs": 1})
    done, history = run(examples, tmp_path / "a.pt", settings)
    again, same_history = run(examples, tmp_path / "a.pt", settings, after_epoch=lambda *_: pytest.fail("trained"))
    assert same(done, again)
    assert history.rows == same_history.rows


def test_history_has_a_row_per_epoch_split_and_exit_and_training_learns(examples, tmp_path):
    _, history = run(examples, tmp_path / "a.pt", SHORT.model_copy(update={"epochs": 6}))
    assert len(history.rows) == 6 * 2 * 3
    assert {row["phase"] for row in history.rows} == {"joint"}
    assert list(history.last("val")) == [f"exit_{k}" for k in range(1, 4)]
    first = next(row for row in history.rows if row["split"] == "train" and row["exit"] == "exit_3")
    assert history.last("train")["exit_3"]["loss"] < first["loss"]


def test_an_exit_of_weight_zero_is_not_trained(examples, tmp_path):
    network = tiny()
    before = copied(network)
    settings = Train(epochs=1, batch_size=16, weight_decay=0.0)
    train(network, examples, [1.0, 0.0, 1.0], settings, 1, CPU, tmp_path / "z.pt", lambda *_: None)
    assert torch.equal(network.branch2[2].weight, before["branch2.2.weight"])
    assert not torch.equal(network.last.weight, before["last.weight"])


@pytest.mark.parametrize(("batch_size", "epochs"), [(21, 2), (63, 1), (64, 1)])
def test_a_single_sample_left_over_and_a_single_step_do_not_stop_training(examples, tmp_path, batch_size, epochs):
    settings = Train(epochs=epochs, batch_size=batch_size)
    _, history = run(examples, tmp_path / "x.pt", settings)
    assert history.last("val")["exit_3"]["epoch"] == epochs


def test_the_first_phase_moves_the_backbone_alone_and_the_second_side_heads_alone(examples, tmp_path):
    """Parameters, running statistics and their counters: nothing of the other part differs by a bit."""
    network = tiny()
    side_heads = side_head_names(network)
    assert side_heads == {name for name in network.state_dict() if name.startswith("branch")}
    backbone = set(network.state_dict()) - side_heads
    states = [copied(network)]
    _, history = run(examples, tmp_path / "a.pt", TWO_PHASE, lambda *_: states.append(copied(network)), network=network)
    start, _, border, _, end = states
    assert same(start, border, side_heads)
    assert not any(torch.equal(start[name], border[name]) for name in backbone)
    assert same(border, end, backbone)
    assert not any(torch.equal(border[name], end[name]) for name in side_heads)
    assert all(parameter.requires_grad for parameter in network.parameters())
    exits = {(row["epoch"], row["phase"]): [] for row in history.rows}
    for row in history.rows:
        exits[row["epoch"], row["phase"]].append(row["exit"])
    every = [f"exit_{k}" for k in range(1, 4)] * 2
    assert exits == {
        (1, "backbone"): ["exit_3"] * 2,
        (2, "backbone"): ["exit_3"] * 2,
        (3, "exits"): every,
        (4, "exits"): every,
    }


def test_a_second_phase_that_freezes_nothing_moves_everything(examples, tmp_path):
    network = tiny()
    states = []
    settings = TWO_PHASE.model_copy(update={"freeze_backbone": False, "epochs": 1, "backbone_epochs": 1})
    run(examples, tmp_path / "a.pt", settings, lambda *_: states.append(copied(network)), network=network)
    assert not any(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_heads_only_learns_on_a_backbone_that_stays(examples, tmp_path):
    network = tiny()
    before = copied(network)
    after, history = run(
        examples, tmp_path / "a.pt", SHORT.model_copy(update={"mode": "heads_only", "epochs": 6}), network=network
    )
    side_heads = side_head_names(network)
    assert same(before, after, set(before) - side_heads)
    assert not any(torch.equal(before[name], after[name]) for name in side_heads)
    assert history.last("val")["exit_1"]["accuracy"] > 0.9
    last_exit = [row["loss"] for row in history.rows if (row["split"], row["exit"]) == ("val", "exit_3")]
    assert len(set(last_exit)) == 1


class Sharing(EarlyExitNetwork):
    """The side head's normalisation is also in the first segment; its linear layer is also the last head."""

    def __init__(self, n_exits=2):
        super().__init__()
        self.norm, self.linear, self.own = nn.BatchNorm1d(12), nn.Linear(12, 2), nn.Linear(12, 12)
        self.flatten = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
        stages = [
            (nn.Sequential(self.flatten, self.norm), nn.Sequential(self.own, self.norm, self.linear)),
            (nn.Identity(), self.linear),
        ]
        self.stages = stages[-n_exits:] if n_exits > 1 else [(self.flatten, self.linear)]


def test_what_a_side_head_shares_with_the_backbone_is_frozen_with_it(examples, tmp_path):
    network = Sharing()
    assert side_head_names(network) == {"own.weight", "own.bias"}
    before = copied(network)
    settings = SHORT.model_copy(update={"mode": "heads_only"})
    train(network, examples, [1.0, 1.0], settings, 1, CPU, tmp_path / "a.pt", lambda *_: None)
    moved = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {"own.weight", "own.bias"}


def test_a_parameter_that_the_network_itself_froze_stays_frozen(examples, tmp_path):
    network = tiny()
    network.conv1.weight.requires_grad_(False)
    before = copied(network)
    run(examples, tmp_path / "a.pt", TWO_PHASE, network=network)
    assert torch.equal(network.conv1.weight, before["conv1.weight"])
    assert not network.conv1.weight.requires_grad


@pytest.mark.parametrize("mode", ["two_phase", "heads_only"])
def test_a_mode_that_trains_side_heads_needs_some(mode):
    with pytest.raises(InputError, match=f"train.mode {mode} trains side heads, and the network has a single exit"):
        phases(Train(mode=mode), [1.0])
    assert len(phases(Train(mode="joint"), [1.0])) == 1


def test_only_training_images_are_augmented_and_anew_in_every_epoch(examples, tmp_path, monkeypatch):
    seen = []
    apply = augmentation.apply
    monkeypatch.setattr(
        augmentation,
        "apply",
        lambda images, drawn, crop: seen.append((len(images), drawn)) or apply(images, drawn, crop),
    )
    settings = Train(epochs=2, batch_size=32, augment=Augment(crop=4, flip=True))
    run(examples, tmp_path / "a.pt", settings)
    assert [n for n, _ in seen] == [32] * 4  # 64 training images, twice; no validation image
    first, second = torch.cat([seen[0][1], seen[1][1]]), torch.cat([seen[2][1], seen[3][1]])
    assert not torch.equal(first.sort(0).values, second.sort(0).values)


def test_a_crop_that_may_show_nothing_is_refused(examples, tmp_path):
    with pytest.raises(InputError, match=r"train.augment.crop must be smaller than the images, 8×8 pixels; got 8"):
        run(examples, tmp_path / "a.pt", Train(augment=Augment(crop=8)))


def test_label_smoothing_is_the_formula_and_leaves_validation_alone(rng, examples, tmp_path):
    logits, labels = rng.normal(size=(5, 4)), np.array([0, 3, 1, 2, 2])
    losses, _ = measure([torch.from_numpy(logits)], torch.from_numpy(labels), 0.1)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    target = 0.9 * np.eye(4)[labels] + 0.1 / 4
    assert losses[0].numpy() == pytest.approx(-(target * log_p).sum(1))
    network = tiny()
    _, history = run(
        examples, tmp_path / "a.pt", SHORT.model_copy(update={"epochs": 1, "label_smoothing": 0.5}), network=network
    )
    plain = evaluate(network, examples["val"])[0]
    assert [row["loss"] for row in history.last("val").values()] == pytest.approx(plain.tolist(), abs=1e-6)
    smoothed = -(0.5 + 0.5 / 2) * math.log(0.75) - 0.25 * math.log(0.25)  # the least that two classes allow
    assert min(row["loss"] for row in history.last("train").values()) > smoothed
