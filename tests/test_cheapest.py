"""`offramp cheapest`: the lowest MACs that keep an accuracy, per rule, chosen on val and shown on test."""

import json
import math

import numpy as np
import pytest
from conftest import random_logits

from offramp.cache.writing import CacheWriter, write_logits
from offramp.commands.main import main
from offramp.policies.costs import write_costs
from offramp.scores.scoring import Scoring

SIZE, PLAIN = 6, 15 + 1
EXITS = ["exit_1", "exit_2", "exit_3"]
ASK = ["cheapest", "--val", "val.parquet", "--costs", "costs.json", "--batch-size", str(SIZE)]


@pytest.fixture
def splits(tmp_path, rng, monkeypatch):
    """Return logits and labels of val and test, whose files stand in the folder with the costs."""
    monkeypatch.chdir(tmp_path)
    found = {name: random_logits(rng, n=n) for name, n in (("val", 150), ("test", 210))}
    for name, (logits, labels) in found.items():
        write_logits(tmp_path / f"{name}.parquet", logits, labels)
    write_costs(tmp_path / "costs.json", EXITS, [5, 5, 5], [1, 1, 1])
    return found


def figures(logits, labels, rule, cutoff):
    """Return accuracy and the MACs of all images, batch by batch."""
    size, reduce = {"threshold": (1, max), "batch_max": (SIZE, max), "batch_mean": (SIZE, lambda v: sum(v) / len(v))}[
        rule
    ]
    uncertainty, right, macs = Scoring.plain("entropy", EXITS)(logits), 0, 0
    for start in range(0, len(labels), size):
        rows = range(start, min(start + size, len(labels)))
        k = next((k for k in (0, 1) if reduce([uncertainty[row, k] for row in rows]) <= cutoff), 2)
        right += sum(int(logits[row, k].argmax() == labels[row]) for row in rows)
        macs += len(rows) * (6, 12, 18)[k]
    return right / len(labels), macs


@pytest.mark.parametrize("accuracy", [0.6, 0.75])
def test_the_answer_is_the_cheapest_of_all_cutoffs_on_val_and_the_same_cutoff_on_test(splits, capsys, accuracy):
    assert main([*ASK, "--accuracy", str(accuracy), "--test", "test.parquet", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["full"]["test"]["total_macs"] == PLAIN * 210
    assert list(content["rules"]) == ["threshold", "batch_max", "batch_mean"]
    for rule, entry in content["rules"].items():
        assert entry["feasible"]
        for name, (logits, labels) in splits.items():
            row = entry[name]
            assert (row["accuracy"], row["total_macs"]) == figures(logits, labels, rule, entry["cutoff"])
            assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]
            assert row["full_total_macs"] == PLAIN * len(labels)
            assert row["mac_ratio"] == pytest.approx(row["total_macs"] / row["full_total_macs"])
            assert row["macs"] == pytest.approx(row["total_macs"] / len(labels))
        others = (figures(*splits["val"], rule, cutoff) for cutoff in np.linspace(0, math.log(4), 80))
        assert entry["val"]["accuracy"] >= accuracy
        assert entry["val"]["total_macs"] <= min(macs for right, macs in others if right >= accuracy)


def test_what_cannot_be_kept_is_said_first_with_what_can(splits, capsys):
    assert main([*ASK, "--accuracy", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines[:3]] == [
        "INFEASIBLE, sample by sample",
        "INFEASIBLE, batches of 6, largest",
        "INFEASIBLE, batches of 6, mean",
    ]
    logits, labels = splits["val"]
    full = float((logits[:, 2].argmax(axis=1) == labels).mean())
    reached = [float(line.split()[-1]) for line in lines[:3]]
    assert all(round(full, 4) <= value < 1 for value in reached)
    assert lines[5].split()[:3] == ["plain", "network", "val"]
    assert main([*ASK, "--accuracy", "1", "--json"]) == 0
    rules = json.loads(capsys.readouterr().out)["rules"].values()
    assert not any(entry["feasible"] for entry in rules)
    assert [round(entry["nearest"], 4) for entry in rules] == reached


def test_a_table_names_both_splits_and_where_the_full_network_is_cheapest_no_cutoff(splits, tmp_path, capsys):  # noqa: ARG001
    write_costs(tmp_path / "costs.json", EXITS, [5, 5, 5], [90, 90, 1])
    assert main([*ASK, "--accuracy", "0.7", "--test", "test.parquet"]) == 0
    text = capsys.readouterr().out
    assert "batches of 6, mean: every cutoff that keeps it costs more than the network without exits" in text
    assert text.count(" test ") == text.count("  val ") == 4
    assert main([*ASK, "--accuracy", "0.7", "--json"]) == 0
    assert "cutoff" not in json.loads(capsys.readouterr().out)["rules"]["batch_mean"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--accuracy", "0"], "--accuracy must be a number in (0, 1]; got 0"),
        (["--accuracy", "nan"], "--accuracy must be a number in (0, 1]; got nan"),
        (["--accuracy", "0.9", "--costs", "ms.json"], "holds times"),
        (["--accuracy", "0.9", "--val", "said.parquet"], "--val said.parquet is the test split"),
    ],
)
def test_what_does_not_fit_is_one_line_and_status_2(splits, tmp_path, capsys, more, message):
    with CacheWriter(tmp_path / "said.parquet", 3, 4, "float32", {"split": "test"}) as writer:
        writer.write(np.arange(150), splits["val"][1], splits["val"][0])
    rows = {name: {"segment": 1.0, "head": 1.0, "cumulative": 2.0 * k} for k, name in enumerate(EXITS, start=1)}
    (tmp_path / "ms.json").write_text(json.dumps({"unit": "ms", "exits": rows, "full": 4.0}))
    assert main([*ASK, *more]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
