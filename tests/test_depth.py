"""Prediction depth, nearest-neighbour probes, rank correlation, and the two stages on a tiny network."""

import csv
import json
import math
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from cases.exported import CLASSES, description, lively_network, noise
from conftest import make_outcomes, random_outcomes
from scipy.stats import spearmanr
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from docs.readme.difficulty import depth_table
from offramp.cache.writing import write_logits
from offramp.data.prepared import Batch, write_split
from offramp.evaluation.tables import full_replay
from offramp.networks.early_exit import EarlyExitNetwork
from offramp.networks.file import save_network
from offramp.policies.costs import write_costs
from offramp.policies.file import write_policies
from offramp.policies.policy import Policies, Policy
from offramp.policies.replay import replay
from offramp.policies.rules import Batch as BatchRule
from offramp.project.errors import InputError
from offramp.project.sections import StageParams, validate
from offramp.runtime.engines.torch import TorchEngine
from offramp.scores.scoring import Scoring
from offramp.statistics.bootstrap import spearman
from studies.depth.nearest_neighbours import features_of, flat, probe, vote
from studies.depth.params import Depth
from studies.depth.prediction_depth import Depths, prediction_depth, rows_of, summarise, write_depths
from studies.depth.probe_table import ProbeTable, read_probes, write_probes

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")


class DepthSection(StageParams):
    depth: Depth


def literal_depth(agrees):
    for k in range(len(agrees)):
        if all(agrees[k:]):
            return k
    return len(agrees) - 1


@pytest.mark.parametrize("n_exits", [1, 2, 5])
def test_depth_is_the_first_exit_from_which_on_all_agree(rng, n_exits):
    agrees = rng.random((300, n_exits)) < 0.6
    assert prediction_depth(agrees).tolist() == [literal_depth(row) for row in agrees]
    assert agrees.flags.writeable
    assert prediction_depth(np.ones((3, n_exits), bool)).tolist() == [0, 0, 0]


def split_of(folder, name, images, labels, classes=CLASSES, difficulty=None):
    names = [f"class {c}" for c in range(classes)]
    return write_split(folder / f"{name}.parquet", [Batch(images, labels, difficulty)], "tiny", name, names)


def test_votes_are_those_of_sklearn(rng):
    support, queries = rng.normal(size=(400, 12)), rng.normal(size=(150, 12))
    labels = (support[:, 0] * 2 + rng.normal(size=400)).round().clip(-2, 2).astype(int) + 2
    theirs = KNeighborsClassifier(7, algorithm="brute").fit(support, labels).predict(queries)
    # far from the origin: squares of a million would lose the differences in float32
    parts = [torch.tensor(values + 1000, dtype=torch.float32) for values in (support, queries)]
    ours = vote(parts[0], torch.tensor(labels), parts[1], 7, 6)
    assert (ours.numpy() == theirs).all()
    assert len(set(theirs)) == 5


def test_ties_go_to_the_first_row_and_the_smallest_label():
    support = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
    labels = torch.tensor([3, 1, 2, 0])
    query = torch.tensor([[0.0]])
    assert vote(support, labels, query, 1, 4).tolist() == [3]  # four rows as near: the first one
    assert vote(support, labels, query, 3, 4).tolist() == [1]  # the first three, a vote each
    assert vote(support, torch.zeros(4, dtype=torch.int64), query, 4, 1).tolist() == [0]  # one class


class Scale(nn.Module):
    """Multiplies the first channel, and counts the images it is given."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor, self.seen = factor, 0

    def forward(self, images):
        self.seen += len(images)
        return torch.cat([images[:, :1] * self.factor, images[:, 1:]], dim=1)


class Level(nn.Module):
    """Answers with the class whose grey the first channel has; `scale` is what segments multiplied it by."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, features):
        level = features[:, 0].mean(dim=(1, 2)) / self.scale
        return -(level[:, None] - torch.arange(3) * 80 / 255).abs()


class Planted(EarlyExitNetwork):
    """The class drowns in noise of other channels until segment `clear`, from 0, brings it out."""

    def __init__(self, clear: int, n: int) -> None:
        super().__init__()
        factors = [1.0] * n
        factors[0] *= 1e-3
        factors[clear] *= 1e5
        self.scales = nn.ModuleList(Scale(factor) for factor in factors)
        self.stages = [(scale, Level(math.prod(factors))) for scale in self.scales]


def planted_images(rng, n):
    label = np.arange(n) % 3
    images = rng.integers(0, 256, (n, 8, 8, 3)).astype(np.uint8)
    images[..., 0] = (label * 80)[:, None, None]
    return images, label


def test_probes_answer_from_the_segment_on_that_brings_the_class_out(rng, tmp_path):
    train = split_of(tmp_path, "train", *planted_images(rng, 150), classes=3)
    images, label = planted_images(rng, 90)
    test = split_of(tmp_path, "test", images, label, classes=3)
    network = Planted(clear=2, n=4)
    table = probe(network, train, test, CPU, neighbours=9, support=120, samples=80)
    assert [scale.seen for scale in network.scales] == [200] * 4  # every segment once per image
    assert table.answer.tolist() == label[:80].tolist()
    assert table.sample.tolist() == list(range(80))
    assert (table.votes[:, 2:] == label[:80, None]).all()
    assert (table.votes[:, :2] == label[:80, None]).mean() < 0.55
    assert np.bincount(prediction_depth(table.votes == table.answer[:, None]), minlength=4)[2] > 30
    write_probes(tmp_path / "probes.parquet", table)
    read = read_probes(tmp_path / "probes.parquet", ["exit_1", "exit_2", "exit_3", "exit_4"])
    assert (read.votes == table.votes).all()
    assert (read.neighbours, read.support) == (9, 120)
    with pytest.raises(InputError, match="must have the columns sample, answer, exit_1; it has"):
        read_probes(tmp_path / "probes.parquet", ["exit_1"])
    with pytest.raises(InputError, match=r"depth.neighbours is 151, and .* has 150 images"):
        probe(network, train, test, CPU, neighbours=151, support=200)


def test_more_neighbours_than_support_are_refused_in_the_parameters():
    with pytest.raises(InputError, match=r"depth.neighbours must be at most depth.support \(20\).*; got 30"):
        validate(DepthSection, {"depth": {"support": 20}}, "params.yaml")


def test_features_of_every_form_become_rows_of_numbers():
    maps = torch.arange(2 * 3 * 8 * 8.0).reshape(2, 3, 8, 8)
    pooled = flat(maps, 2)
    assert pooled.shape == (2, 48)
    assert pooled[1, 0] == maps[1, 0, :2, :2].mean()
    assert flat(torch.ones(2, 5, 3, 1), 2).shape == (2, 15)  # what is smaller than the grid stays
    assert flat(torch.ones(2, 512, 7, 7), 2).shape == (2, 512 * 4)  # a coarser grid for many channels
    assert flat(torch.ones(2, 2048, 7, 7), 2).shape == (2, 2048)
    tokens = torch.rand(2, 5, 4, dtype=torch.float64)
    assert torch.equal(flat(tokens, 2), tokens.float().mean(dim=1))
    assert flat({"a": tokens, "b": (torch.ones(2, 6),)}, 2).shape == (2, 10)
    for wrong in (torch.ones(3, 4), torch.ones(2), "text", ()):
        with pytest.raises(InputError, match="need tensors whose first dimension is the images"):
            flat(wrong, 2)


def test_rank_correlation_is_scipys_and_its_interval_shrinks_with_the_samples(rng):
    x = rng.integers(0, 6, 500)
    y = x + rng.normal(0, 3, 500)
    for other in (y, y.round()):
        found = spearman(x, other)
        assert found["spearman"] == pytest.approx(spearmanr(x, other).statistic)
        assert found["spearman_low"] < found["spearman"] < found["spearman_high"]
    many = spearman(np.tile(x, 4), np.tile(y.round(), 4))
    assert many["spearman_high"] - many["spearman_low"] < 0.6 * (found["spearman_high"] - found["spearman_low"])
    copies = spearman(np.tile(x, 4), np.tile(y.round(), 4), np.tile(np.arange(500), 4))  # four copies are one draw
    width = copies["spearman_high"] - copies["spearman_low"]
    assert width == pytest.approx(found["spearman_high"] - found["spearman_low"], rel=0.15)
    assert spearman(x, np.ones(500)) == {}
    assert spearman([1.0], [2.0]) == {}


@pytest.mark.parametrize("rule", [None, BatchRule(8, "max", 0.6)])
def test_tables_count_every_sample_once_and_leave_out_what_does_not_exist(rng, costs, tmp_path, rule):
    outcomes = random_outcomes(rng, n=200)
    agrees = rng.random((200, 4)) < 0.7
    agrees[:, 1], agrees[:, 2:] = False, True  # nobody settles at exit 1 or 2
    outcomes = make_outcomes(outcomes.uncertainty, outcomes.correct)
    outcomes.agrees[:] = agrees
    thresholds = (0.6, 0.6, 0.6, math.inf)
    policy = (
        Policy(thresholds, rule, method="batch", target=0.5)
        if rule
        else Policy(thresholds, method="shared", target=0.5)
    )
    result = replay(outcomes, policy, costs)
    logits = Depths.of_logits(outcomes, full_replay(outcomes, costs), result, None)
    rows = list(logits.table())
    assert [row["samples"] for row in rows] == [0, 0, 200, 0]
    assert "accuracy" not in rows[0]
    assert rows[2]["accuracy"] == result.accuracy
    assert rows[2]["mean_exit"] == pytest.approx(result.taken.mean() + 1)
    sample = rng.permutation(200)[:50]
    votes = rng.integers(0, 2, (50, 4))
    table = ProbeTable(sample, votes[:, -1], votes, 3, 20)
    knn = logits.probed(table, rows_of(outcomes, sample))
    assert knn.policy.taken.tolist() == result.taken[sample].tolist()
    summary = summarise(policy.name, logits, knn, table, outcomes)
    assert "exit_taken" not in summary["logits"]  # one depth only: no correlation
    assert "difficulty" not in summary["knn"]
    assert summary["knn"]["exit_taken"]["spearman"] == pytest.approx(spearmanr(knn.depth, knn.policy.taken).statistic)
    json.dumps(summary, allow_nan=False)
    write_depths(tmp_path / "depth.csv", tmp_path / "exits.csv", (logits, knn))
    with (tmp_path / "exits.csv").open() as file:
        taken = list(csv.DictReader(file))
    assert sum(int(row["samples"]) for row in taken if row["kind"] == "knn") == 50
    assert sum(float(row["share"] or 0) for row in taken if row["kind"] == "logits") == pytest.approx(1)
    with (tmp_path / "depth.csv").open() as file:
        text = depth_table(list(csv.DictReader(file)), summary)
    assert "difficulty" not in text
    with pytest.raises(InputError, match="sample 999 was probed"):
        rows_of(outcomes, np.array([3, 999]))


def even_network():
    """Return a network whose exits answer with every class: without their mean logits."""
    network = lively_network()
    mean = TorchEngine(network, CPU).exit_logits(noise(80, 2)).mean(axis=0)
    for (_, head), logits in zip(network.stages, mean, strict=True):
        (head[-1] if isinstance(head, nn.Sequential) else head.fc).bias.data -= torch.from_numpy(logits)
    return network


def test_the_stages_run_on_a_tiny_network(rng, tmp_path, monkeypatch):
    network, about = even_network(), description()
    save_network(tmp_path / "models/network.safetensors", network, about)
    exits = network.exits
    engine, caches = TorchEngine(network, CPU), {}
    for number, (name, n) in enumerate({"train": 120, "val": 60, "test": 80}.items()):
        images, labels = noise(n, number), np.arange(n) % CLASSES
        split_of(tmp_path / "data/prepared", name, images, labels, difficulty=rng.random(n).astype(np.float32))
        if name != "train":
            caches[name] = engine.exit_logits(images)
            write_logits(tmp_path / f"data/logits/{name}.parquet", caches[name], labels)
    write_costs(tmp_path / "metrics/costs.json", exits, [10] * 6, [1] * 6)
    policy = Policy((1.5,) * 5 + (math.inf,), method="shared", target=0.5)
    policies = Policies(Scoring.plain("entropy", exits), [policy], policy)
    write_policies(tmp_path / "metrics/policies.json", policies)
    (tmp_path / "params.yaml").write_text("compute: {device: cpu}\n")
    (tmp_path / "studies/depth").mkdir(parents=True)
    (tmp_path / "studies/depth/params.yaml").write_text("depth: {neighbours: 5, support: 100, samples: 50}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    for stage in ("probe", "measure"):
        runpy.run_path(str(ROOT / f"studies/depth/{stage}.py"))["main"]()

    depth, answers = json.loads(Path("metrics/depth.json").read_text()), caches["test"].argmax(axis=2)
    literal = [literal_depth(row == row[-1]) for row in answers]
    assert len(set(literal)) == 2
    assert depth["logits"]["mean_depth"] == pytest.approx(np.mean(literal) + 1)
    assert (depth["logits"]["samples"], depth["knn"]["samples"]) == (80, 50)
    assert (read_probes(Path("data/probes.parquet"), exits).answer == answers[:50, -1]).all()
    with Path("plots/depth.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "logits"]
    assert [int(row["samples"]) for row in rows] == np.bincount(literal, minlength=6).tolist()
    smaller = json.loads(Path("metrics/smaller.json").read_text())
    assert list(smaller["exits"]) == exits
    assert smaller["exits"]["exit_1"]["mac_ratio"] == pytest.approx(11 / 61)
    assert Path("plots/depth/depth.png").stat().st_size > 10_000


class Mirrored(nn.Module):
    def forward(self, images):
        return torch.cat([160 / 255 - images[:, :1], images[:, 1:]], dim=1)


def test_what_stands_before_the_first_segment_counts(rng, tmp_path):
    images, label = planted_images(rng, 70)
    network = Planted(clear=1, n=2)
    network.prepend(Mirrored())
    found = features_of(network, split_of(tmp_path, "test", images, label, classes=3), 66, CPU)
    assert found.answer.tolist() == (2 - label[:66]).tolist()
    assert [len(part) for part in found.segments] == [66, 66]
