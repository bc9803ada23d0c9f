import csv
import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from conftest import random_outcomes
from offramp.calibration import calibrate
from offramp.evaluation import evaluate, write_difficulty, write_tradeoff
from offramp.replay import replay
from offramp.sweep import sweep, write_cutoff, write_sweep

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def case(rng, costs):
    outcomes = random_outcomes(rng, n=400)
    return calibrate(outcomes, costs, "entropy", ["per_exit", "shared"], [0.7, 0.99], ("shared", 0.7)), outcomes, costs


def test_evaluation_has_every_key_and_no_list_or_null(case):
    result = evaluate(*case)
    entry = result["shared"]["0.7"]
    assert list(entry) == [
        "accuracy",
        "accuracy_low",
        "accuracy_high",
        "loss",
        "loss_low",
        "loss_high",
        "mmacs",
        "mac_ratio",
        "speedup",
        "feasible",
        "meets_target",
        "exits",
    ]
    assert result["shared"]["0.99"]["feasible"] is False

    def leaves(value):
        return [leaf for part in value.values() for leaf in leaves(part)] if isinstance(value, dict) else [value]

    assert all(isinstance(leaf, bool | float | int) and math.isfinite(leaf) for leaf in leaves(result))


def test_loss_is_the_full_network_less_the_policy(case):
    result = evaluate(*case)
    for entry in (*result["shared"].values(), *result["per_exit"].values()):
        assert entry["loss"] == pytest.approx(result["full"]["accuracy"] - entry["accuracy"])
        assert entry["loss_low"] <= entry["loss"] <= entry["loss_high"]
        assert entry["speedup"] == pytest.approx(1 / entry["mac_ratio"])


def test_baselines_stand_beside_the_policies(case, tmp_path):
    policies, outcomes, costs = case
    write_tradeoff(tmp_path / "t.csv", policies, outcomes, costs)
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    static = [row for row in rows if row["method"] == "static"]
    assert [row["exit"] for row in static] == outcomes.exits
    assert [float(row["accuracy"]) for row in static] == outcomes.correct.mean(0).tolist()
    assert [float(row["mac_ratio"]) * costs.full for row in static] == pytest.approx([14, 33, 62, 101])
    oracle = next(row for row in rows if row["method"] == "oracle")
    assert float(oracle["accuracy"]) == outcomes.correct.any(axis=1).mean()
    assert sum(row["selected"] == "True" for row in rows) == 1


def test_difficulty_bins_hold_every_sample_once(case, tmp_path, rng):
    policies, outcomes, costs = case
    result = replay(outcomes, policies.selected.thresholds, costs)
    write_difficulty(tmp_path / "d.csv", result, outcomes.exits, rng.random(len(outcomes)))
    rows = list(csv.DictReader((tmp_path / "d.csv").open()))
    assert sum(int(row["samples"]) for row in rows) == len(outcomes)
    write_difficulty(tmp_path / "none.csv", result, outcomes.exits, None)
    assert (tmp_path / "none.csv").read_text().count("\n") == 1


def test_the_sweep_starts_with_the_full_network_and_ends_at_the_first_exit(case, tmp_path):
    _, outcomes, costs = case
    steps = list(sweep(outcomes, costs, 11))
    assert next(cutoff for cutoff, _ in steps) == 0
    assert [cutoff for cutoff, _ in steps][-1] == pytest.approx(math.log(2))
    write_sweep(tmp_path / "sweep.csv", outcomes, costs, 11)
    rows = list(csv.DictReader((tmp_path / "sweep.csv").open()))
    assert all(sum(float(row[name]) for name in outcomes.exits) == pytest.approx(1) for row in rows)
    detail = write_cutoff(tmp_path / "s.json", outcomes, costs, 0.3)
    assert sum(row["samples"] for row in detail["exits"].values()) == len(outcomes)


def entropy_by_hand(logits):
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    return -(p * np.log(np.where(p > 0, p, 1))).sum(-1)


def require_recomputed_accuracies(folder):
    """Compare evaluation.json with what a plain loop makes of the Parquet file and policies.json."""
    table = pq.read_table(folder / "data/logits/test.parquet")
    label = table.column("label").to_numpy()
    exits = [name for name in table.column_names if name.startswith("exit_")]
    logits = np.stack([np.array(table.column(name).to_pylist(), dtype=np.float64) for name in exits], axis=1)
    entropy = entropy_by_hand(logits)
    evaluation = json.loads((folder / "metrics/evaluation.json").read_text())
    for policy in json.loads((folder / "metrics/policies.json").read_text())["policies"]:
        right = 0
        for i in range(len(label)):
            for k, name in enumerate(exits):
                threshold = policy["thresholds"][name]
                if threshold == "inf" or (threshold is not None and entropy[i, k] <= threshold):
                    right += logits[i, k].argmax() == label[i]
                    break
        assert evaluation[policy["method"]][f"{policy['target']:g}"]["accuracy"] == right / len(label)


@pytest.mark.skipif(not (ROOT / "data/logits/test.parquet").exists(), reason="the pipeline has not run here")
def test_committed_accuracies_equal_a_recomputation_from_the_parquet_file():
    require_recomputed_accuracies(ROOT)
