"""Early exit against the networks that end at an exit: the choice on validation, the figures on test, the words."""

import csv
import json
import math

import numpy as np
import pytest
from conftest import make_outcomes

from docs.readme.difficulty import smaller_table
from offramp.policies.costs import from_parts
from offramp.policies.policy import Policies, Policy
from offramp.policies.replay import replay
from offramp.policies.rules import Batch
from offramp.scores.scoring import Scoring
from studies.depth.truncated_networks import compare_truncated, conclusion, write_smaller

N = 2000
COSTS = from_parts("macs", [10, 10, 10], [0, 0, 0])  # networks cost 1/3, 2/3 and 1 of the full one


def outcomes_of(rng, accuracies, hard=0.5, told=True):
    """Return outcomes where a share `hard` of the samples is right as often as an exit's accuracy wants and others
    always are; with `told`, uncertainty tells the two apart."""
    is_hard = np.arange(N) < hard * N
    wrong = [(1 - accuracy) / hard for accuracy in accuracies]
    luck = rng.random(N)
    correct = np.stack([~is_hard | (luck >= share) for share in wrong], axis=1)
    uncertainty = np.repeat((is_hard if told else rng.random(N))[:, None] * 1.0, len(accuracies), axis=1)
    order = rng.permutation(N)
    return make_outcomes(uncertainty[order], correct[order])


def policies_of(*thresholds, n_exits=3, rule=None):
    about = {"rule": rule} if rule else {}
    found = [
        Policy((*side, math.inf), method="shared", target=0.1 * (k + 1), **about) for k, side in enumerate(thresholds)
    ]
    return Policies(Scoring.plain("entropy", [f"exit_{k + 1}" for k in range(n_exits)]), found, found[0])


def verdicts(found):
    return [model.verdict for model in found]


def compared(rng, accuracies, content, costs=COSTS, **how):
    return compare_truncated(content, outcomes_of(rng, accuracies, **how), outcomes_of(rng, accuracies, **how), costs)


def test_early_exit_beats_a_smaller_model_where_only_hard_samples_need_depth(rng):
    found = compared(rng, (0.7, 0.8, 0.95), policies_of((0.5, None)))  # half leave at once: cost 2/3
    assert verdicts(found) == ["no_policy", "beaten", "matched"]
    row = found[1].against["same_cost"].row
    assert row["accuracy_difference"] == pytest.approx(row["accuracy"] - found[1].row["accuracy"])
    assert 0.12 < row["accuracy_difference_low"] < row["accuracy_difference_high"] < 0.21
    assert (row["cost_difference"], row["leave_there"]) == (pytest.approx(0), 0)  # half leave at exit 1, half at 3
    words = conclusion(found, "mac_ratio")
    assert "more accurate than the network that ends at exit 2: by 0.1" in words
    assert "at 67% of the cost of the network that ends at exit 3" in words
    assert "No policy calibrated here is as cheap as the network that ends at exit 1 (0.333" in words
    assert "early exit is the better choice unless the least cost that there is, 0.333 with an accuracy of 0." in words


def test_a_smaller_model_is_as_good_where_nearly_everybody_leaves(rng):
    found = compared(rng, (0.6, 0.94, 0.95), policies_of((None, 0.5), (None, 1.5)))  # the second: all leave at exit 2
    assert verdicts(found) == ["no_policy", "as_good", "matched"]
    words = conclusion(found, "mac_ratio")
    assert "exit 2, where 100% of the images leave under that policy, is as good as the best policy" in words
    assert "So a smaller model is enough at a cost of 0.333 with an accuracy of 0." in words
    assert ", 0.667 with an accuracy of 0.9" in words


def test_early_exit_may_be_better_everywhere(rng):
    dear_head = from_parts("macs", [0, 20, 0], [20, 0, 0])  # exit 3 costs no more than the others do
    found = compared(rng, (0.6, 0.8, 0.95), policies_of((None, None)), dear_head)
    assert verdicts(found) == ["beaten", "beaten", "as_good"]
    assert conclusion(found[:2], "mac_ratio").endswith("better choice at every cost and accuracy of a smaller model.")


def test_a_smaller_model_wins_where_uncertainty_tells_nothing(rng):
    found = compared(rng, (0.6, 0.9, 0.91), policies_of((0.5, None)), told=False)
    assert verdicts(found) == ["no_policy", "unbeaten", "unbeaten"]
    words = conclusion(found, "mac_ratio")
    assert (
        "The networks that end at exits 2 and 3 are more accurate than every policy tried that is not dearer" in words
    )
    assert words.endswith("early exit gains nothing over a network that ends at one fixed exit.")


def test_heads_that_cost_too_much_leave_nothing_to_gain(rng):
    dear = from_parts("macs", [1, 1, 1], [50, 50, 1])
    found = compared(rng, (0.94, 0.945, 0.95), policies_of((-1.0, -1.0)), dear)  # every head runs, nobody leaves
    assert verdicts(found) == ["no_policy"] * 3
    words = conclusion(found, "mac_ratio")
    assert "the networks that end at exits 1, 2 and 3" in words
    assert words.endswith("early exit gains nothing over a network that ends at one fixed exit.")


def test_one_exit_and_one_class(rng):
    one = make_outcomes(np.zeros((50, 1)), rng.random((50, 1)) < 0.5, n_classes=1)
    found = compare_truncated(policies_of((), n_exits=1), one, one, from_parts("macs", [10], [1]))
    assert verdicts(found) == ["as_good"]
    assert found[0].against["same_cost"].row["accuracy_difference"] == 0


def test_policies_are_chosen_on_validation_and_measured_on_test(rng):
    content = policies_of((0.5, None), (None, 0.5))
    val, test = outcomes_of(rng, (0.7, 0.8, 0.95)), outcomes_of(rng, (0.7, 0.8, 0.95))
    test.correct[:, 2] = False  # what val promises of exit 3 does not hold on test
    held = compare_truncated(content, val, test, COSTS)[1].against["same_cost"]
    assert held.policy is content.policies[0]
    result = replay(test, content.policies[0], COSTS)
    assert held.row["accuracy"] == result.accuracy
    assert held.row["accuracy_difference_high"] < 0


@pytest.mark.parametrize("rule", [None, Batch(16, "mean", 0.5)])
def test_files_hold_what_was_compared(rng, tmp_path, rule):
    found = compared(rng, (0.7, 0.8, 0.95), policies_of((0.5, 0.5), rule=rule))
    write_smaller(tmp_path / "smaller.json", tmp_path / "smaller.csv", found, COSTS.ratio)
    content = json.loads((tmp_path / "smaller.json").read_text())
    assert [row["verdict"] for row in content["exits"].values()] == verdicts(found)
    assert content["conclusion"] == conclusion(found, COSTS.ratio)
    with (tmp_path / "smaller.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["exit"] for row in rows if row["network"] == "static"] == ["exit_1", "exit_2", "exit_3"]
    assert len(rows) == 3 + sum(len(model.against) for model in found)
    text = smaller_table(content)
    assert text.count("\n| exit_") == 3
    assert text.endswith(content["conclusion"])
