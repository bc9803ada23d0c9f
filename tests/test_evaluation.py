import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from cases.recomputation import require_recomputed_accuracies
from conftest import make_outcomes, random_logits, random_outcomes

from offramp.cache.writing import write_logits
from offramp.calibration import calibrate
from offramp.calibration.settings import Settings
from offramp.evaluation.results import describe, evaluate_policies, read_test, write_tables
from offramp.evaluation.tables import write_difficulty
from offramp.policies.costs import from_parts
from offramp.policies.file import read_policies, write_policies
from offramp.policies.methods import METHODS
from offramp.policies.policy import Policies, Policy, full_network
from offramp.policies.replay import replay
from offramp.project.errors import InputError
from offramp.project.files import significant
from offramp.scores.change import Change
from offramp.scores.scoring import Scoring

ROOT = Path(__file__).resolve().parents[1]
KEYS = [
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "loss",
    "loss_low",
    "loss_high",
    "loss_bootstrap_low",
    "loss_bootstrap_high",
    "mmacs",
    "mac_ratio",
    "mac_ratio_low",
    "mac_ratio_high",
    "speedup",
    "feasible",
    "meets_target",
    "validation_accuracy",
    "validation_loss",
    "validation_mac_ratio",
    "certified_loss",
    "certified_confidence",
    "worst_class",
    "worst_class_loss",
    "worst_class_loss_low",
    "worst_class_loss_high",
    "against_selected",
    "exits",
]


def evaluate(*case):
    return evaluate_policies(*case).evaluation


def calibrated(outcomes, costs, wanted, selected):
    scoring = Scoring.plain("entropy", outcomes.exits)
    return calibrate(outcomes, costs, scoring, Settings(wanted=wanted, selected=selected))


@pytest.fixture
def case(rng, costs):
    outcomes = random_outcomes(rng, n=400)
    wanted = [(method, target) for method in ("per_exit", "shared") for target in (0.7, 0.99)]
    wanted.append(("certified", 0.5))
    return calibrated(outcomes, costs, wanted, ("shared", 0.7)), outcomes, costs


def leaves(value):
    return [leaf for part in value.values() for leaf in leaves(part)] if isinstance(value, dict) else [value]


def rows_of(path):
    return list(csv.DictReader(path.open()))


def test_evaluation_has_every_key_in_order_and_no_list_or_null(case):
    result = evaluate(*case)
    assert list(result["certified"]["0.5"]) == KEYS
    shared = [key for key in KEYS if not key.startswith("certified")]
    assert list(result["shared"]["0.99"]) == shared
    assert list(result["shared"]["0.7"]) == [key for key in shared if key != "against_selected"]  # it is the selected
    assert result["shared"]["0.99"]["feasible"] is False
    for leaf in leaves(result):
        assert isinstance(leaf, str) or (isinstance(leaf, bool | float | int) and math.isfinite(leaf))


def test_loss_is_the_full_network_less_the_policy(case):
    result = evaluate(*case)
    for entry in (*result["shared"].values(), *result["per_exit"].values()):
        assert entry["loss"] == pytest.approx(result["full"]["accuracy"] - entry["accuracy"])
        assert entry["loss_low"] <= entry["loss"] <= entry["loss_high"]
        assert entry["loss_bootstrap_low"] <= entry["loss"] <= entry["loss_bootstrap_high"]
        assert entry["mac_ratio_low"] <= entry["mac_ratio"] <= entry["mac_ratio_high"]
        assert entry["speedup"] == pytest.approx(1 / entry["mac_ratio"])


def test_the_three_figures_of_a_policy_stand_side_by_side(case, tmp_path):
    policies, outcomes, costs = case
    write_policies(tmp_path / "p.json", policies)
    report = evaluate_policies(read_policies(tmp_path / "p.json"), outcomes, costs)
    write_tables(tmp_path, report)
    rows = {(row["method"], row["target"], row["figure"]): row for row in rows_of(tmp_path / "guarantees.csv")}
    for stored in json.loads((tmp_path / "p.json").read_text())["policies"]:
        method, target = stored["method"], f"{stored['target']:g}"
        entry = report.evaluation[method][target]
        for key in ("accuracy", "loss", "mac_ratio"):
            assert entry[f"validation_{key}"] == stored["validation"][key]
        name = METHODS[method].measure
        assert ("certified_confidence" in entry) == ("certificate" in stored)
        if "certificate" in stored:
            assert entry["certified_loss"] == stored["target"]
            assert entry["certified_confidence"] == 1 - stored["certificate"]["level"] == 0.9
            assert float(rows[method, target, "certified"]["value"]) == stored["target"]
        if name in entry:
            assert float(rows[method, target, "test"]["value"]) == significant(entry[name])
            assert float(rows[method, target, "in_sample"]["value"]) == significant(entry[f"validation_{name}"])


def test_description_shows_the_figures_and_says_infeasible_first(case):
    policies, outcomes, costs = case
    for policy in policies.policies:
        chosen = Policies(policies.scoring, policies.policies, policy)
        text = describe(chosen, evaluate(chosen, outcomes, costs))
        assert text.startswith("INFEASIBLE, " if not policy.feasible else "full network: accuracy")
        assert f"selected {policy.name}" in text
        assert ("certified (0.9 sure)" in text and "at most 0.5" in text) == (policy.method == "certified")


def handmade(method, target, thresholds):
    policy = Policy(thresholds, method=method, target=target)
    return Policies(Scoring.plain("entropy", ["exit_1", "exit_2", "exit_3"]), [policy], policy)


@pytest.mark.parametrize(
    ("method", "just_met", "just_missed"),
    [
        ("per_exit", 0.5, 0.51),  # exit 1: 3 of 4, exit 2: 1 of 2; the last exit, 0 of 2, does not count
        ("certified_per_exit", 0.5, 0.51),
        ("shared", 0.5, 0.51),  # 4 of 8
        ("overall", 0.5, 0.51),
        ("certified_overall", 0.5, 0.51),
        ("certified", 0.25, 0.24),  # the full network: 6 of 8
        ("conformal", 0.25, 0.24),
        ("budget", 0.496, 0.495),  # 4 x 12, 2 x 33 and 2 x 64 MACs of 8 x 61
    ],
)
def test_every_method_is_held_to_its_own_promise(method, just_met, just_missed):
    taken = [[0, 9, 9]] * 4 + [[9, 0, 9]] * 2 + [[9, 9, 9]] * 2
    correct = [[1, 1, 1]] * 3 + [[0, 1, 1]] + [[0, 1, 1]] + [[0, 0, 1]] + [[0, 0, 0]] * 2
    outcomes, costs = make_outcomes(taken, correct), from_parts("macs", [10, 20, 30], [2, 1, 1])
    for target, met in ((just_met, True), (just_missed, False)):
        entry = evaluate(handmade(method, target, (1.0, 1.0, math.inf)), outcomes, costs)[method][f"{target:g}"]
        assert entry["meets_target"] is met
        if "per_exit" in method:
            assert (entry["lowest_exit"], entry["exit_accuracy"]) == ("exit_2", 0.5)
            assert entry["exit_accuracy_low"] < 0.5 < entry["exit_accuracy_high"]


def test_nobody_at_a_side_exit_breaks_no_promise_per_exit(costs, rng):
    outcomes, thresholds = random_outcomes(rng, n_exits=3), full_network(3)
    costs = from_parts("macs", [1, 1, 1], [1, 1, 1])
    entry = evaluate(handmade("per_exit", 0.9, thresholds), outcomes, costs)["per_exit"]["0.9"]
    assert entry["meets_target"] is True
    assert "exit_accuracy" not in entry
    assert (entry["mac_ratio_low"], entry["mac_ratio"], entry["mac_ratio_high"]) == (1, 1, 1)


@pytest.mark.parametrize(("samples", "exits", "classes"), [(1, 1, 1), (1, 3, 2), (1, 3, 5), (30, 1, 3), (30, 4, 1)])
def test_the_smallest_cases_work(rng, tmp_path, samples, exits, classes):
    outcomes = make_outcomes(rng.random((samples, exits)), rng.random((samples, exits)) < 0.7, classes)
    costs = from_parts("macs", [1] * exits, [1] * exits)
    policies = [Policy((0.5,) * (exits - 1) + (math.inf,), method=m, target=0.5) for m in METHODS]
    report = evaluate_policies(
        Policies(Scoring.plain("entropy", outcomes.exits), policies, policies[0]), outcomes, costs
    )
    write_tables(tmp_path, report)
    assert len(rows_of(tmp_path / "tradeoff.csv")) == len(METHODS) + 2 + exits
    assert len(rows_of(tmp_path / "classes.csv")) == len(METHODS) * min(samples, classes)
    assert all(isinstance(leaf, str) or math.isfinite(leaf) for leaf in leaves(report.evaluation))


def test_costs_of_zero_have_no_speedup(rng):
    outcomes, costs = random_outcomes(rng, n_exits=3), from_parts("macs", [0, 1, 1], [0, 1, 1])
    entry = evaluate(handmade("shared", 0.1, (math.inf, None, math.inf)), outcomes, costs)["shared"]["0.1"]
    assert entry["mac_ratio"] == 0
    assert "speedup" not in entry


def test_a_score_that_compares_exits_pays_for_every_head(rng, costs):
    outcomes = random_outcomes(rng, n=50)
    change = Change(((0.0,) * 5, (0.0,) * 8, (0.0,) * 8), (0.0, 0.0, 0.0))
    thresholds = (None, None, 0.5, math.inf)
    entries = []
    for scoring in (
        Scoring.plain("entropy", outcomes.exits),
        Scoring("change", dict.fromkeys(outcomes.exits, 1.0), change),
    ):
        policy = Policy(thresholds, method="overall", target=0.7)
        entries.append(evaluate(Policies(scoring, [policy], policy), outcomes, costs)["overall"]["0.7"])
    heads_1_and_2 = 4 + 3
    assert entries[1]["mac_ratio"] == pytest.approx(entries[0]["mac_ratio"] + heads_1_and_2 / costs.full)
    assert entries[1]["accuracy"] == entries[0]["accuracy"]


@pytest.mark.parametrize("score", ["entropy", "least_confidence", "margin", "energy"])
def test_the_test_cache_is_read_under_any_known_score(rng, tmp_path, score):
    logits, labels = random_logits(rng)
    write_logits(tmp_path / "t.parquet", logits, labels)
    policy = Policy((0.0, 0.0, math.inf), method="shared", target=0.7)
    content = Policies(Scoring.plain(score, ["exit_1", "exit_2", "exit_3"]), [policy], policy)
    costs = from_parts("macs", [1, 1, 1], [1, 1, 1])
    outcomes = read_test(tmp_path / "t.parquet", content, costs)
    assert outcomes.uncertainty == pytest.approx(content.scoring(logits))
    strange = Policy(policy.thresholds, method="mine", target=0.7)
    with pytest.raises(InputError, match="unknown method 'mine'; known: batch, budget, certified"):
        read_test(tmp_path / "t.parquet", Policies(content.scoring, [strange], strange), costs)


def test_classes_by_hand_and_the_worst_of_them(tmp_path):
    """Class 0 loses 1 of 2 answers, class 1 none of 2; class 2 has no samples and no row."""
    outcomes = make_outcomes([[0, 9], [9, 9], [0, 9], [0, 9]], [[0, 1], [0, 1], [1, 1], [1, 0]], n_classes=2)
    outcomes.class_names.append("absent")
    outcomes.label[:] = [0, 0, 1, 1]
    policy = Policy((1.0, math.inf), method="certified", target=0.1)
    content = Policies(Scoring.plain("entropy", outcomes.exits), [policy], policy)
    report = evaluate_policies(content, outcomes, from_parts("macs", [1, 2], [1, 1]))
    write_tables(tmp_path, report)
    first, second = rows_of(tmp_path / "classes.csv")
    numbers = {key: float(first[key]) for key in ("samples", "full_accuracy", "accuracy", "loss", "mac_ratio")}
    assert numbers == {"samples": 2, "full_accuracy": 1, "accuracy": 0.5, "loss": 0.5, "mac_ratio": (2 + 5) / 2 / 4}
    assert (second["full_accuracy"], second["accuracy"], second["loss"]) == ("0.5", "1.0", "-0.5")
    entry = report.evaluation["certified"]["0.1"]
    assert (entry["worst_class"], entry["worst_class_loss"]) == ("0", 0.5)
    assert significant(entry["worst_class_loss_low"]) == float(first["loss_low"])


def test_differences_from_the_selected_policy_are_paired(case):
    """The policy's loss and cost less the selected one's, row by row, as resampling rows would give them."""
    policies, outcomes, costs = case
    entry = evaluate(*case)["certified"]["0.5"]
    mine, its = (replay(outcomes, p, costs) for p in (policies.policies[-1], policies.selected))
    loss = its.correct.astype(float) - mine.correct
    cost = (mine.cost_at_exits[mine.taken] - its.cost_at_exits[its.taken]) / costs.full
    against = entry["against_selected"]
    rng = np.random.default_rng(0)
    rows = rng.integers(len(outcomes), size=(4000, len(outcomes)))
    for name, value in (("loss", loss), ("mac_ratio", cost)):
        assert against[name] == pytest.approx(value.mean())
        ends = np.quantile(value[rows].mean(axis=1), [0.025, 0.975])
        width = ends[1] - ends[0]
        assert [against[f"{name}_low"], against[f"{name}_high"]] == pytest.approx(ends, abs=0.08 * width)


def test_baselines_stand_beside_the_policies(case, tmp_path):
    policies, outcomes, costs = case
    write_tables(tmp_path, evaluate_policies(policies, outcomes, costs))
    rows = rows_of(tmp_path / "tradeoff.csv")
    static = [row for row in rows if row["method"] == "static"]
    assert [row["exit"] for row in static] == outcomes.exits
    assert [float(row["accuracy"]) for row in static] == pytest.approx(outcomes.correct.mean(0), rel=1e-5)
    assert [float(row["mac_ratio"]) * costs.full for row in static] == pytest.approx([14, 33, 62, 101], rel=1e-5)
    oracle = next(row for row in rows if row["method"] == "oracle")
    assert float(oracle["accuracy"]) == significant(outcomes.correct.any(axis=1).mean())
    assert sum(row["selected"] == "True" for row in rows) == 1


def test_difficulty_bins_hold_every_sample_once(case, tmp_path, rng):
    policies, outcomes, costs = case
    result = replay(outcomes, policies.selected, costs)
    write_difficulty(tmp_path / "d.csv", result, outcomes.exits, rng.random(len(outcomes)))
    rows = rows_of(tmp_path / "d.csv")
    assert sum(int(row["samples"]) for row in rows) == len(outcomes)
    write_difficulty(tmp_path / "none.csv", result, outcomes.exits, None)
    assert (tmp_path / "none.csv").read_text().count("\n") == 1


@pytest.mark.skipif(not (ROOT / "data/logits/test.parquet").exists(), reason="the pipeline has not run here")
def test_committed_accuracies_equal_a_recomputation_from_the_parquet_file():
    require_recomputed_accuracies(ROOT)
