"""INT8 against float32 on the same rows, by hand."""

import numpy as np
import pytest
from conftest import make_outcomes

from docs.readme.int8 import int8_table
from offramp.evaluation.int8 import Replayed, compare_precision, describe_comparison, paired
from offramp.policies.policy import Policies, Policy
from offramp.project.errors import InputError
from offramp.scores.scoring import Scoring
from offramp.statistics.intervals import paired_loss

EXITS = ["exit_1", "exit_2", "exit_3", "exit_4"]


def replayed(outcomes, thresholds):
    policy = Policy(thresholds, method="budget", target=0.5)
    return Replayed(Policies(Scoring.plain("entropy", EXITS), [policy], policy), outcomes)


def test_a_loss_counts_what_broke_less_what_was_repaired():
    float32 = np.array([1, 1, 1, 1, 0, 0, 1, 1, 1, 1], bool)
    int8 = np.array([0, 0, 0, 1, 1, 0, 1, 1, 1, 1], bool)  # three broke, one was repaired
    row = paired(int8, float32)
    assert row["loss"] == pytest.approx(0.2)
    assert (row["accuracy"], row["float32_accuracy"]) == (0.6, 0.8)
    assert (row["loss_low"], row["loss_high"]) == paired_loss(3, 1, 10)


def test_each_network_has_its_own_thresholds_and_the_last_exit_is_the_full_network(costs):
    uncertainty = np.array([[0.1, 0.1, 0.1, 0.1], [0.9, 0.9, 0.9, 0.9]])
    int8 = make_outcomes(uncertainty, [[0, 1, 1, 1], [1, 1, 1, 0]])
    float32 = make_outcomes(uncertainty, [[1, 1, 1, 1], [0, 0, 0, 1]])
    compared = compare_precision(
        replayed(int8, (0.5, None, None, np.inf)), replayed(float32, (None, None, None, np.inf)), costs
    )
    assert (compared["full"]["accuracy"], compared["full"]["float32_accuracy"]) == (0.5, 1.0)
    assert compared["exits"]["exit_1"]["loss"] == 0.0
    selected = compared["selected"]
    assert (selected["accuracy"], selected["float32_accuracy"]) == (0.0, 1.0)  # wrong early, and wrong at the end
    assert (selected["mac_ratio"], selected["float32_mac_ratio"]) == (pytest.approx((14 + 105) / 2 / 101), 1.0)
    assert compared["selected_against_full"]["loss"] == 1.0
    assert describe_comparison(compared).count("\n") == 2


def test_rows_are_paired_by_sample_whatever_their_order(costs, rng):
    uncertainty, correct = rng.random((8, 4)), rng.random((8, 4)) < 0.5
    outcomes = make_outcomes(uncertainty, correct)
    one, other = (outcomes.take(rng.permutation(8)) for _ in range(2))
    thresholds = (0.5, 0.5, 0.5, np.inf)
    compared = compare_precision(replayed(one, thresholds), replayed(other, thresholds), costs)
    # about half of the rows would differ if they were paired by place
    assert all(row["loss_low"] == paired_loss(0, 0, 8)[0] for row in compared["exits"].values())


def test_other_rows_are_refused(costs):
    outcomes = make_outcomes(np.zeros((4, 4)), np.ones((4, 4)))
    thresholds = (None, None, None, np.inf)
    with pytest.raises(InputError, match="other samples or exits"):
        compare_precision(replayed(outcomes, thresholds), replayed(outcomes.take(np.arange(3)), thresholds), costs)


def test_the_readme_has_both_precisions_side_by_side():
    row = {"accuracy": 0.9, "float32_accuracy": 0.91, "loss": 0.01, "loss_low": 0.0, "loss_high": 0.02}
    time = {"ms_per_sample": 0.2, "ms_low": 0.1, "ms_high": 0.3}
    faster = {f"speedup{end}": value for end, value in (("", 2.0), ("_low", 1.9), ("_high", 2.1))}
    both = {"float32": time, "int8": time, **faster}
    over = {f"speedup_over_full{end}": value for end, value in (("", 3.0), ("_low", 2.9), ("_high", 3.1))}
    about = {"threads": 2, "samples": 100, "repeats": 5, "host": "a host"}
    compared = {"full": row, "selected": row | {"policy": "p8", "float32_policy": "p32"}, "selected_against_full": row}
    timed = {"about": about, "full": {"batch_1": both}, "selected": {"batch_1": both | over}}
    text = int8_table(compared, timed)
    assert "| selected policy, accuracy | 0.9100 (p32) | 0.9000 (p8) | loss 0.0100 (0.0000 to 0.0200) |" in text
    assert "| 2.00 (1.90 to 2.10) times as fast |" in text
    assert "3.00 (2.90 to 3.10) at batch 1; they lose 0.0100" in text
