"""Calibration for measured time: which exits are used, and what is written about it."""

import json
import math

import numpy as np
import pytest
from cases.latency import BATCH_1, DEAR, EXITS, HEAD, SEGMENT, WANTED, entry_of, latency, settings

from offramp.calibration import calibrate_cache
from offramp.evaluation.results import evaluate_policies, read_test
from offramp.policies.costs import LatencyRow, read_costs
from offramp.policies.file import read_policies, write_policies
from offramp.policies.policy import Policies, Policy, exits_taken
from offramp.policies.text import describe
from offramp.project.errors import InputError
from offramp.scores.scoring import Scoring


def evaluate(*case):
    return evaluate_policies(*case).evaluation


@pytest.fixture
def content(latency_folder):
    return json.loads((latency_folder / "p.json").read_text())


@pytest.mark.parametrize("engine", HEAD)
def test_every_method_avoids_the_exit_whose_head_takes_longer_than_it_saves(latency_folder, engine):
    measured = read_costs(latency_folder / "latency.json", LatencyRow(engine, 1))
    policies = calibrate_cache(latency_folder / "val.parquet", measured, settings()).policies
    for policy in policies:
        assert policy.feasible, policy.name
        enabled = [name for name, threshold in zip(EXITS, policy.thresholds, strict=True) if threshold is not None]
        assert DEAR[engine] not in enabled, policy.name
        assert len(enabled) > 1, policy.name
        assert policy.validation["latency_ratio"] < 1, policy.name
    macs = calibrate_cache(
        latency_folder / "val.parquet", read_costs(latency_folder / "costs.json"), settings()
    ).policies
    used = [policy.thresholds[EXITS.index(DEAR[engine])] is not None for policy in macs]
    assert sum(used) >= len(WANTED) - 1, "by MACs that exit pays"


def test_the_row_that_is_asked_for_is_read(latency_folder):
    costs = read_costs(latency_folder / "latency.json", BATCH_1)
    assert (costs.unit, str(costs.row), costs.full) == ("ms", "onnx, batch 1", pytest.approx(10.2))
    assert costs.at_exits([True] * 4).tolist() == pytest.approx([1.3, 12.3, 15.6, 19.8])
    assert read_costs(latency_folder / "latency.json", LatencyRow("onnx", 64)).full == pytest.approx(2.6)
    assert read_costs(latency_folder / "costs.json", BATCH_1).row is None  # a file of one table has no rows


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (LatencyRow("onnx_int8", 1), "no times of onnx_int8, batch 1; it has onnx batch 1, onnx batch 64, torch batch"),
        (LatencyRow("torch", 64), "no times of torch, batch 64; it has onnx batch 1, .*calibrate.latency"),
        (None, r"holds times per engine and batch size \(onnx batch 1, .*\), where costs in MACs are wanted"),
    ],
)
def test_a_row_that_was_not_measured_is_refused_with_those_that_were(latency_folder, row, message):
    with pytest.raises(InputError, match=message):
        read_costs(latency_folder / "latency.json", row)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(unit="joule"), "unit is 'joule', not macs or ms"),
        (lambda c: c["onnx"]["batch_1"].pop("full"), None),  # it follows from the parts
        (lambda c: c["onnx"]["batch_1"].update(full=99), "full is 99, but all segments and the last head cost 10.2"),
        (lambda c: c["onnx"]["batch_1"].pop("exits"), "exits is missing"),
        (lambda c: c["onnx"]["batch_1"]["exits"].pop("exit_2"), "not exit_1 … exit_E"),
        (lambda c: c["onnx"]["batch_1"]["exits"]["exit_1"].update(head=-1), "a cost is not a number from 0"),
        (lambda c: c["onnx"]["batch_1"]["exits"]["exit_1"].update(head=None), "a cost is not a number from 0"),
        (lambda c: c.update(onnx=3), "no times of onnx, batch 1; it has torch batch 1"),
        (lambda c: [c.pop("onnx"), c.pop("torch")], "it has none"),
    ],
)
def test_a_broken_latency_file_is_refused_in_one_line(tmp_path, change, message):
    altered = latency()
    change(altered)
    (tmp_path / "latency.json").write_text(json.dumps(altered))
    if message is None:
        assert read_costs(tmp_path / "latency.json", BATCH_1).full == pytest.approx(10.2)
        return
    with pytest.raises(InputError, match=message) as error:
        read_costs(tmp_path / "latency.json", BATCH_1)
    assert "\n" not in str(error.value)


def test_an_unknown_unit_and_a_missing_latency_file_are_refused(tmp_path):
    (tmp_path / "c.json").write_text(json.dumps({"unit": "joule", "exits": {"exit_1": {"cumulative": 1}}, "full": 1}))
    with pytest.raises(InputError, match="unit is 'joule', not macs or ms"):
        read_costs(tmp_path / "c.json")
    with pytest.raises(InputError, match=r"`dvc repro -P` writes metrics/latency\.json"):
        read_costs(tmp_path / "latency.json", BATCH_1)


def test_the_file_names_times_as_times(latency_folder, content):
    pairs = {name: {"segment": s, "head": h} for name, s, h in zip(EXITS, SEGMENT, HEAD["onnx"], strict=True)}
    assert content["cost"] == {"unit": "ms", "engine": "onnx", "batch_size": 1, "exits": pairs}
    assert list(content) == ["schema_version", "score", "temperature", "cost", "policies"]
    for policy in content["policies"]:
        assert "mac_ratio" not in policy["validation"]
    certificate = entry_of(content, "certified")["certificate"]
    assert (certificate["costs"]["unit"], certificate["without_dear_exits"]) == ("ms", True)
    text = describe(read_policies(latency_folder / "p.json"))
    assert text.count("of the full network's time (onnx, batch 1) on validation") == len(WANTED)
    assert "cost" not in text


def test_the_ratio_is_the_mean_time_of_those_who_leave_by_hand(content):
    entry = entry_of(content, "overall")
    time, mean = 0.0, 0.0
    for name, segment, head in zip(EXITS, SEGMENT, HEAD["onnx"], strict=True):
        time += segment + (head if entry["thresholds"][name] is not None else 0)
        mean += time * entry["validation"]["exits"][name]["share"]
    assert entry["validation"]["latency_ratio"] == pytest.approx(mean / 10.2)


def test_policies_for_macs_carry_no_trace_of_time(latency_folder, tmp_path):
    policies = calibrate_cache(latency_folder / "val.parquet", read_costs(latency_folder / "costs.json"), settings())
    write_policies(tmp_path / "p.json", policies)
    assert (policies.costs, read_policies(tmp_path / "p.json").cost_row) == (None, None)
    text = (tmp_path / "p.json").read_text()
    assert not any(word in text for word in ("latency", '"cost"', '"unit"', "without_dear_exits"))
    assert list(json.loads(text)) == ["schema_version", "score", "temperature", "policies"]


def test_times_survive_a_round_trip(latency_folder, tmp_path):
    once = read_policies(latency_folder / "p.json")
    write_policies(tmp_path / "again.json", once)
    assert once.cost_row == BATCH_1
    assert json.loads((tmp_path / "again.json").read_text()) == json.loads((latency_folder / "p.json").read_text())


def test_evaluation_stays_in_macs_and_adds_the_modelled_time(latency_folder):
    policies, macs = read_policies(latency_folder / "p.json"), read_costs(latency_folder / "costs.json")
    outcomes = read_test(latency_folder / "test.parquet", policies, macs)
    result = evaluate(policies, outcomes, macs)
    for policy in policies.policies:
        entry = result[policy.method][f"{policy.target:g}"]
        taken = exits_taken(policy.rule.of_cache(outcomes.uncertainty, outcomes.sample), policy.thresholds)
        head = [h if t is not None else 0 for h, t in zip(HEAD["onnx"], policy.thresholds, strict=True)]
        assert entry["latency_ratio"] == pytest.approx((np.cumsum(SEGMENT) + np.cumsum(head))[taken].mean() / 10.2)
        assert entry["latency_ratio_low"] < entry["latency_ratio"] < entry["latency_ratio_high"]
        assert entry["validation_latency_ratio"] == policy.validation["latency_ratio"]
        assert "validation_mac_ratio" not in entry
        assert entry["mac_ratio"] < entry["mmacs"] * 1e6 / 100
        assert entry["speedup"] == pytest.approx(1 / entry["mac_ratio"])
    assert result["full"]["mmacs"] == pytest.approx(102e-6)


def test_a_budget_of_time_is_judged_on_time_and_not_on_macs(latency_folder):
    """Everybody leaves at exit 2: 12.3 of 10.2 ms, but 36 of 102 MACs."""
    policy = Policy((None, math.inf, None, math.inf), method="budget", target=0.5)
    times, macs = read_costs(latency_folder / "latency.json", BATCH_1), read_costs(latency_folder / "costs.json")
    met = {}
    for costs in (None, times):
        content = Policies(Scoring.plain("entropy", EXITS), [policy], policy, costs)
        outcomes = read_test(latency_folder / "test.parquet", content, macs)
        met[costs is times] = evaluate(content, outcomes, macs)["budget"]["0.5"]["meets_target"]
    assert met == {False: True, True: False}
    by_macs = Policies(Scoring.plain("entropy", EXITS), [policy], policy)
    assert "meets_target" not in evaluate(by_macs, outcomes, times)["budget"]["0.5"]  # MACs follow from no time
