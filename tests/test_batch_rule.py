"""Rule `batch`: a whole batch leaves where its largest, or mean, uncertainty is within the tolerance."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from conftest import make_outcomes, random_logits, random_outcomes

from offramp.cache.writing import write_logits
from offramp.calibration import calibrate, calibrate_cache
from offramp.calibration.settings import Settings
from offramp.calibration.shared import batch, shared
from offramp.check import recheck, recheck_fresh
from offramp.evaluation.comparison import Comparison, joined
from offramp.evaluation.int8 import Replayed, compare_precision
from offramp.evaluation.results import evaluate_policies
from offramp.evaluation.tables import accuracy_of, full_replay
from offramp.policies.costs import from_parts, write_costs
from offramp.policies.file import read_policies, rule_from_json, write_policies
from offramp.policies.policy import Policies, Policy, named_policy
from offramp.policies.replay import replay
from offramp.policies.rules import Batch, Rule
from offramp.policies.text import describe
from offramp.project.errors import InputError
from offramp.scores.scoring import Scoring

INF = math.inf


def evaluate(*case):
    return evaluate_policies(*case).evaluation


def policy_of(size, reduce, tolerance, enabled=(1, 1, 1)):
    side = tuple(tolerance if on else None for on in enabled)
    return Policy((*side, INF), Batch(size, reduce, tolerance), method="batch", target=0.5)


def read_aloud(outcomes, policy):
    """Take consecutive rows by id; exit by exit, ask whether all of the batch leave."""
    taken = {}
    rows = sorted(range(len(outcomes)), key=lambda row: outcomes.sample[row])
    for start in range(0, len(rows), policy.rule.size):
        group = rows[start : start + policy.rule.size]
        for k in range(outcomes.n_exits):
            values = [outcomes.uncertainty[row, k] for row in group]
            value = max(values) if policy.rule.reduce == "max" else math.fsum(values) / len(values)
            if policy.thresholds[k] is not None and (value <= policy.thresholds[k] or k == outcomes.n_exits - 1):
                taken |= dict.fromkeys(group, k)
                break
    return [taken[row] for row in range(len(outcomes))]


@pytest.mark.parametrize("reduce", ["max", "mean"])
@pytest.mark.parametrize(("n", "size"), [(60, 4), (61, 7), (5, 64), (3, 1)])
def test_a_replay_is_the_rule_read_aloud_whatever_the_order_of_rows(rng, costs, reduce, n, size):
    outcomes = random_outcomes(rng, n)
    policy = policy_of(size, reduce, {"max": 0.8, "mean": 0.5}[reduce], (1, 0, 1))
    expected = read_aloud(outcomes, policy)
    assert replay(outcomes, policy, costs).taken.tolist() == expected
    order = rng.permutation(n)
    assert replay(outcomes.take(order), policy, costs).taken.tolist() == np.array(expected)[order].tolist()
    assert n < 60 or len(set(expected)) == 3, "a test in which all leave together shows little"


def test_a_batch_of_one_is_the_threshold_rule(rng, costs):
    outcomes = random_outcomes(rng, 200)
    for reduce in ("max", "mean"):
        ours = replay(outcomes, policy_of(1, reduce, 0.4), costs)
        assert ours.taken.tolist() == replay(outcomes, Policy((0.4, 0.4, 0.4, INF)), costs).taken.tolist()
        assert ours.batch is None, "single samples are independent"


def test_a_policy_of_batches_comes_back_from_its_file_and_single_samples_state_no_rule(tmp_path):
    scoring = Scoring.plain("entropy", ["exit_1", "exit_2", "exit_3", "exit_4"])
    ours, plain = policy_of(8, "mean", 0.25, (1, 0, 1)), Policy((0.1, 0.1, 0.1, INF), method="shared", target=0.5)
    write_policies(tmp_path / "p.json", Policies(scoring, [ours, plain], ours))
    first, second = json.loads((tmp_path / "p.json").read_text())["policies"]
    assert first["rule"] == "batch"
    assert first["arguments"] == {"batch_size": 8, "reduce": "mean", "tolerance": 0.25}
    assert not {"rule", "arguments"} & set(second)
    found = read_policies(tmp_path / "p.json")
    assert found.policies == [replace(ours, scoring=scoring), replace(plain, scoring=scoring)]
    assert named_policy("selected", found).rule == ours.rule
    assert "batches of 8 by their mean uncertainty" in describe(found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": "activation"}, "unknown rule 'activation'; known: batch, constant_jump"),
        ({"rule": "threshold"}, "rule 'threshold' takes no arguments; got 'batch_size', 'reduce', 'tolerance'"),
        ({"arguments": None}, "takes the arguments batch_size, reduce and tolerance; got nothing"),
        ({"batch_size": 0}, "batch_size must be a whole number from 1 to 1000000; got 0"),
        ({"batch_size": 8.0}, "batch_size must be a whole number"),
        ({"batch_size": True}, "batch_size must be a whole number"),
        ({"reduce": "median"}, "reduce must be max or mean; got 'median'"),
        ({"tolerance": "inf"}, "tolerance must be a finite number; got 'inf'"),
        ({"tolerance": 0.3}, "has its tolerance, 0.3, as threshold; one has 0.25"),
        ({"more": 1}, "takes the arguments batch_size, reduce and tolerance; got"),
    ],
)
def test_arguments_that_mean_nothing_are_refused_by_name(tmp_path, change, message):
    ours = policy_of(8, "max", 0.25)
    write_policies(
        tmp_path / "p.json", Policies(Scoring.plain("entropy", [f"exit_{k}" for k in range(1, 5)]), [ours], ours)
    )
    content = json.loads((tmp_path / "p.json").read_text())
    entry = content["policies"][0]
    for key, value in change.items():
        (entry if key in ("rule", "arguments") else entry["arguments"])[key] = value
    (tmp_path / "p.json").write_text(json.dumps(content))
    with pytest.raises(InputError) as refused:
        read_policies(tmp_path / "p.json")
    assert message in str(refused.value)
    assert "batch@0.5" in str(refused.value)


def test_the_rules_that_are_known_make_themselves():
    assert rule_from_json("threshold", None) == Rule()
    assert rule_from_json("batch", {"batch_size": 2, "reduce": "max", "tolerance": 1}) == Batch(2, "max", 1.0)


@pytest.mark.parametrize("reduce", ["max", "mean"])
@pytest.mark.parametrize("target", [0.4, 0.55, 0.7, 0.99])
def test_the_method_finds_the_cheapest_tolerance_of_all(rng, costs, reduce, target):
    outcomes = random_outcomes(rng, 101)
    outcomes = outcomes.take(rng.permutation(len(outcomes)))
    found = batch(outcomes, costs, target, 5, reduce)
    reduced = Batch(5, reduce, 0).of_cache(outcomes.uncertainty, outcomes.sample)
    every = [replay(outcomes, policy_of(5, reduce, t), costs) for t in np.unique(reduced[:, :-1])]
    every.append(full_replay(outcomes, costs))
    result = replay(outcomes, found, costs)
    meets = [other for other in every if other.accuracy >= target]
    assert found.feasible == bool(meets)
    if meets:
        assert result.accuracy >= target
        assert result.mean_cost == pytest.approx(min(other.mean_cost for other in meets))
    else:
        assert result.accuracy == found.nearest == max(other.accuracy for other in every)
    assert {t for t in found.thresholds[:-1] if t is not None} <= {found.rule.tolerance}


def test_the_full_network_and_everyone_at_once_have_finite_tolerances(costs):
    outcomes = make_outcomes(np.full((6, 4), 0.5), [[0, 0, 0, 1]] * 6)
    late = batch(outcomes, costs, 1.0, 4, "max")
    assert late.thresholds == (None, None, None, INF)
    early = batch(outcomes, costs, 0.0, 4, "max")
    assert replay(outcomes, early, costs).taken.tolist() == [0] * 6
    assert all(math.isfinite(choice.rule.tolerance) for choice in (late, early))


def test_where_heads_are_dear_in_time_batches_too_leave_them_out(rng):
    outcomes = random_outcomes(rng, 80)
    dear = from_parts("ms", [10, 20, 30, 40], [4, 200, 2, 1])
    for target in (0.5, 0.6):
        found = batch(outcomes, dear, target, 4, "mean")
        assert found.thresholds[1] is None
        reduced = replace(outcomes, uncertainty=found.rule.of_cache(outcomes.uncertainty, outcomes.sample))
        assert shared(reduced, dear, target).thresholds[0] == found.thresholds[0]


def test_no_certificate_speaks_of_batches(recheck_folder, tmp_path):
    content = json.loads((recheck_folder / "paired.json").read_text())
    entry = next(entry for entry in content["policies"] if "certificate" in entry)
    entry |= {"rule": "batch", "arguments": {"batch_size": 4, "reduce": "max", "tolerance": 0.5}}
    entry["thresholds"] = {"exit_1": 0.5, "exit_2": None, "exit_3": "inf"}
    (tmp_path / "p.json").write_text(json.dumps(content))
    for read in (read_policies, lambda path: recheck(path, recheck_folder / "val.parquet")):
        with pytest.raises(InputError, match="has rule 'batch', for which there is no certificate"):
            read(tmp_path / "p.json")


@pytest.fixture
def case(tmp_path, rng):
    """Caches in another order than that of ids, costs, and policies of methods batch and shared."""
    logits, labels = random_logits(rng, n=205)
    write_logits(tmp_path / "val.parquet", logits, labels)
    write_costs(tmp_path / "costs.json", ["exit_1", "exit_2", "exit_3"], [5, 5, 5], [1, 1, 1])
    wanted = [("batch", 0.6), ("batch", 0.7), ("shared", 0.7), ("batch", 0.999)]
    settings = Settings(wanted, ("batch", 0.7), batch_size=10, batch_reduce="mean")
    policies = calibrate_cache(tmp_path / "val.parquet", from_parts("macs", [5, 5, 5], [1, 1, 1]), settings)
    write_policies(tmp_path / "p.json", policies)
    return tmp_path


def test_validation_figures_of_batches_are_computed_again_and_an_altered_one_is_refuted(case):
    content = json.loads((case / "p.json").read_text())
    assert len({tuple(entry["thresholds"].values()) for entry in content["policies"]}) > 2
    for costs in (case / "costs.json", None):
        report = recheck(case / "p.json", case / "val.parquet", costs)
        assert report.passed, report.text
        assert "batch@0.7: confirmed, its figures" in report.text
        assert "shared@0.7: nothing to confirm" in report.text
        assert "batch@0.999: nothing to confirm" not in report.text, "figures of what is infeasible count too"
    for alter in (
        lambda entry: entry["validation"].update(accuracy=entry["validation"]["accuracy"] + 0.01),
        lambda entry: entry["validation"].update(mac_ratio=0.5),
        lambda entry: entry.update(feasible=False),
        lambda entry: entry["arguments"].update(batch_size=11),
        lambda entry: entry["arguments"].update(reduce="max"),
    ):
        altered = json.loads((case / "p.json").read_text())
        alter(altered["policies"][1])
        (case / "altered.json").write_text(json.dumps(altered))
        report = recheck(case / "altered.json", case / "val.parquet", case / "costs.json")
        assert [verdict.policy for verdict in report.verdicts if verdict.refuted] == ["batch@0.7"]
    content["policies"][1]["thresholds"]["exit_1"] = 0.1
    (case / "altered.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="every enabled side exit of rule 'batch' has its tolerance"):
        recheck(case / "altered.json", case / "val.parquet")


def test_fresh_rows_are_decided_in_batches(case):
    stated = json.loads((case / "p.json").read_text())["policies"][1]["validation"]["loss"]
    assert recheck_fresh(case / "p.json", case / "val.parquet").loss == pytest.approx(stated)


def test_whoever_replays_a_policy_keeps_its_batches(rng, costs):
    outcomes = random_outcomes(rng, 120)
    outcomes = outcomes.take(rng.permutation(120))
    settings = Settings([("batch", 0.6), ("shared", 0.6)], ("batch", 0.6), batch_size=6)
    policies = calibrate(outcomes, costs, Scoring.plain("entropy", outcomes.exits), settings)
    expected = replay(outcomes, policies.selected, costs)
    assert expected.taken.tolist() == read_aloud(outcomes, policies.selected)
    assert policies.selected.validation["mac_ratio"] == expected.cost_ratio
    evaluation = evaluate(policies, outcomes, costs)
    assert evaluation["batch"]["0.6"]["mac_ratio"] == expected.cost_ratio
    assert evaluation["batch"]["0.6"]["meets_target"]
    same = compare_precision(
        Replayed(policies, outcomes), Replayed(policies, outcomes.take(rng.permutation(120))), costs
    )
    assert same["selected"]["mac_ratio"] == same["selected"]["float32_mac_ratio"] == expected.cost_ratio
    assert same["selected"]["loss"] == 0


def one_split(rng, n, size):
    """Batches share what makes them hard, so that their samples leave and err together."""
    hard = np.repeat(rng.random(-(-n // size)), size)[:n, None]
    uncertainty = 0.7 * hard + 0.3 * rng.random((n, 3))
    return make_outcomes(uncertainty, rng.random((n, 3)) > uncertainty * [0.8, 0.4, 0.2])


def test_intervals_of_batches_hold_about_as_often_as_they_say_and_those_of_samples_would_not():
    """Known truth, from one large split; 160 small ones of 50 batches, the last one odd."""
    rng, size, draws = np.random.default_rng(11), 8, 160
    costs, policy = from_parts("macs", [10, 20, 30], [4, 3, 2]), policy_of(size, "mean", 0.5, (1, 1))
    large = one_split(rng, 400_000, size)
    whole, full = replay(large, policy, costs), full_replay(large, costs)
    truth = {"accuracy": whole.accuracy, "loss": full.accuracy - whole.accuracy, "mac_ratio": whole.cost_ratio}
    held, naive = dict.fromkeys(truth, 0), 0
    for _ in range(draws):
        outcomes = one_split(rng, 397, size)
        result, full = replay(outcomes, policy, costs), full_replay(outcomes, costs)
        compared = Comparison(result, full, full)
        own, against = compared.bootstrap()
        row = accuracy_of(result) | compared.loss() | own
        assert against["loss_low"] == own["loss_bootstrap_low"], "the selected policy is the full network"
        for key, value in truth.items():
            held[key] += row[f"{key}_low"] <= value <= row[f"{key}_high"]
        rows, _ = Comparison(replace(result, batch=None), full, full).bootstrap()
        naive += rows["mac_ratio_low"] <= truth["mac_ratio"] <= rows["mac_ratio_high"]
    slack = 3 * math.sqrt(0.95 * 0.05 / draws)
    assert all(number / draws > 0.95 - slack for number in held.values()), held
    assert held["mac_ratio"] < draws, "an interval that always holds says little"
    assert naive / draws < 0.7


def test_one_batch_shows_nothing_of_how_batches_differ(costs):
    outcomes = make_outcomes(np.zeros((5, 4)), np.ones((5, 4)))
    policy = policy_of(8, "max", 0.5)
    report = evaluate_policies(Policies(Scoring.plain("entropy", outcomes.exits), [policy], policy), outcomes, costs)
    entry = report.evaluation["batch"]["0.5"]
    assert (entry["accuracy_low"], entry["accuracy_high"]) == (0.0, 1.0)
    assert (entry["loss_low"], entry["loss_high"]) == (-1.0, 1.0)
    assert entry["mac_ratio_low"] == pytest.approx(14 / 101)
    assert entry["mac_ratio_high"] == pytest.approx(110 / 101)


def test_batches_of_two_sizes_are_joined_where_both_end():
    one, other = np.arange(12) // 2, np.arange(12) // 3
    order = np.random.default_rng(0).permutation(12)
    assert joined(one[order], other[order]).tolist() == (order // 6).tolist()
    assert joined(None, other).tolist() == other.tolist()
    assert joined(None, None) is None
