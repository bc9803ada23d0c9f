import math

import numpy as np
import pytest
from conftest import make_outcomes, random_outcomes

from offramp.calibration import calibrate
from offramp.calibration.methods import CALIBRATORS
from offramp.calibration.params import Calibration
from offramp.calibration.per_exit import per_exit
from offramp.calibration.settings import Settings
from offramp.calibration.shared import cutoff_curve, shared
from offramp.policies.costs import from_parts
from offramp.policies.methods import METHODS
from offramp.policies.policy import Policy
from offramp.policies.replay import replay
from offramp.scores.scoring import Scoring

INF = math.inf
TARGETS = [0.5, 0.7, 0.8, 0.9, 1.0]


def slow_per_exit(outcomes, target):
    """The rule read aloud: exit by exit, try every uncertainty as the threshold, keep the largest that qualifies."""
    staying = list(range(len(outcomes)))
    groups = []
    for k in range(outcomes.n_exits - 1):
        best = []
        for threshold in sorted({outcomes.uncertainty[i, k] for i in staying}):
            group = [i for i in staying if outcomes.uncertainty[i, k] <= threshold]
            if sum(outcomes.correct[i, k] for i in group) / len(group) >= target:
                best = group
        groups.append(best)
        staying = [i for i in staying if i not in best]
    return [*groups, staying]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("target", TARGETS)
def test_per_exit_sends_the_same_samples_as_the_rule_read_aloud(rng, costs, ties, target):
    for _ in range(20):
        outcomes = random_outcomes(rng, ties=ties)
        taken = replay(outcomes, per_exit(outcomes, costs, target), costs).taken
        for k, group in enumerate(slow_per_exit(outcomes, target)):
            assert np.flatnonzero(taken == k).tolist() == group


@pytest.mark.parametrize("target", TARGETS)
def test_adding_the_next_samples_of_an_exit_would_break_its_target(rng, costs, target):
    outcomes = random_outcomes(rng, n=500)
    thresholds = per_exit(outcomes, costs, target).thresholds
    staying = np.ones(len(outcomes), bool)
    for k, threshold in enumerate(thresholds[:-1]):
        limit = -INF if threshold is None else threshold
        value, correct = outcomes.uncertainty[staying, k], outcomes.correct[staying, k]
        for further in np.unique(value[value > limit]):
            assert correct[value <= further].mean() < target
        if threshold is not None:
            assert correct[value <= limit].mean() >= target
        staying &= outcomes.uncertainty[:, k] > limit


def test_per_exit_threshold_lies_midway_and_everyone_leaving_is_infinite(costs):
    outcomes = make_outcomes(
        [[0.2, 1, 1, 1], [0.4, 1, 1, 1], [0.8, 1, 1, 1]], [[1, 1, 1, 1], [1, 1, 1, 1], [0, 1, 1, 1]]
    )
    assert per_exit(outcomes, costs, 1.0).thresholds == (pytest.approx(0.6), INF, None, INF)
    assert per_exit(outcomes, costs, 0.6).thresholds == (INF, None, None, INF)


def test_per_exit_without_any_group_is_infeasible_and_falls_back_to_the_full_network(costs):
    outcomes = make_outcomes([[0.1, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.2]], [[1, 0, 0, 1], [0, 0, 0, 1]])
    choice = per_exit(outcomes, costs, 0.9)
    assert not choice.feasible
    assert choice.thresholds == (None, None, None, INF)
    assert choice.nearest == 0.5
    assert "0.9" in choice.reason


def test_a_decimal_target_is_met_by_exactly_that_fraction(costs):
    for numerator in range(1, 100):
        correct = np.zeros((100, 4), bool)
        correct[:numerator] = True
        outcomes = make_outcomes(np.full((100, 4), 0.3), correct)
        assert per_exit(outcomes, costs, float(f"0.{numerator:02d}")).feasible


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("target", TARGETS)
def test_shared_is_as_cheap_as_trying_every_cutoff(rng, costs, ties, target):
    for _ in range(10):
        outcomes = random_outcomes(rng, ties=ties)
        values = np.unique(outcomes.uncertainty)
        cutoffs = [*(values[:-1] + values[1:]) / 2, INF]
        policies = [(None, None, None, INF), *[(t, t, t, INF) for t in cutoffs]]
        results = [replay(outcomes, Policy(thresholds), costs) for thresholds in policies]
        reach = [result for result in results if result.accuracy >= target]
        choice = shared(outcomes, costs, target)
        chosen = replay(outcomes, choice, costs)
        assert choice.feasible == bool(reach)
        if reach:
            assert chosen.mean_cost == pytest.approx(min(result.mean_cost for result in reach))
            assert chosen.accuracy >= target
        else:
            assert chosen.accuracy == choice.nearest == max(result.accuracy for result in results)


def test_the_cutoff_curve_equals_replay_at_every_step(rng, costs):
    outcomes = random_outcomes(rng, n=80, ties=True)
    curve = cutoff_curve(outcomes, costs)
    for value, accuracy, mean_cost in zip(curve.changes, curve.accuracy, curve.mean_cost, strict=True):
        result = replay(outcomes, Policy((value, value, value, INF)), costs)
        assert (result.accuracy, result.mean_cost) == (pytest.approx(accuracy), pytest.approx(mean_cost))


def test_a_network_with_one_exit_has_one_policy():
    outcomes = make_outcomes([[0.1], [0.2]], [[1], [0]])
    one = from_parts("macs", [10], [1])
    assert shared(outcomes, one, 0.5).thresholds == (INF,)
    assert not shared(outcomes, one, 0.9).feasible
    assert not per_exit(outcomes, one, 0.5).feasible


def test_calibrate_returns_every_method_and_target_and_selects_one(rng, costs):
    wanted = [("shared", 0.7), ("shared", 0.8), ("per_exit", 0.7), ("budget", 0.5)]
    outcomes, scoring = random_outcomes(rng), Scoring.plain("entropy", ["exit_1", "exit_2", "exit_3", "exit_4"])
    policies = calibrate(outcomes, costs, scoring, Settings(wanted, ("per_exit", 0.7)))
    assert [policy.name for policy in policies.policies] == ["shared@0.7", "shared@0.8", "per_exit@0.7", "budget@0.5"]
    assert policies.selected.name == "per_exit@0.7"
    with pytest.raises(ValueError, match="not among"):
        calibrate(outcomes, costs, scoring, Settings(wanted, ("per_exit", 0.9)))


def test_every_method_has_its_facts_and_its_function():
    assert set(METHODS) == set(CALIBRATORS)


def test_settings_have_the_defaults_of_the_parameters():
    settings = Calibration().settings()
    assert settings == Settings(settings.wanted, settings.selected)
