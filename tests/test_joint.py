import math
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED, make_outcomes, random_outcomes

from experiments.grid_oracle import grid_policies
from offramp.cache.reading import open_cache
from offramp.calibration.joint_search import Joint
from offramp.calibration.overall_and_budget import budget, overall
from offramp.calibration.shared import cutoff_curve, shared
from offramp.policies.costs import Costs, from_parts, read_costs
from offramp.policies.outcomes import read_outcomes
from offramp.policies.policy import Policy, full_network
from offramp.policies.replay import replay
from offramp.scores.scoring import Scoring

ROOT = Path(__file__).resolve().parents[1]


INF = math.inf
TARGETS = [0.4, 0.6, 0.75, 0.9, 1.0]
BUDGETS = [0.1, 0.2, 0.35, 0.6, 1.0]
PARTS = {3: ([10, 20, 40], [4, 3, 1]), 4: ([10, 20, 30, 40], [4, 3, 2, 1]), 5: ([10] * 5, [3] * 5)}


def cost_of(kind: str, n_exits: int) -> Costs:
    """Costs with a head of its own per exit, with cumulative ones alone, or for a score that compares exits."""
    costs = from_parts("macs", *PARTS[n_exits])
    if kind == "cumulative":
        return Costs("macs", costs.cumulative, costs.full)
    return replace(costs, every_head=kind == "every_head")


def side_thresholds(outcomes):
    """All that can decide differently at each side exit."""
    return [[None, *np.unique(outcomes.uncertainty[:, k]).tolist(), INF] for k in range(outcomes.n_exits - 1)]


def every_policy(outcomes, costs):
    """Right answers and mean cost of every combination of thresholds, each (policies,)."""
    results = [replay(outcomes, Policy((*side, INF)), costs) for side in product(*side_thresholds(outcomes))]
    return np.array([r.correct.sum() for r in results]), np.array([r.mean_cost for r in results])


def cheapest(correct, cost, n, target):
    """The lowest cost at the target, or else at the highest accuracy, by plain words."""
    meets = correct / n >= target
    return cost[meets if meets.any() else correct == correct.max()].min()


def most_accurate(correct, cost, full, target):
    meets = cost / full <= target
    return correct[meets if meets.any() else cost == cost.min()].max()


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("kind", ["heads", "cumulative", "every_head"])
def test_with_two_side_exits_and_few_samples_the_true_optimum_is_found(rng, kind, ties):
    costs = cost_of(kind, 3)
    for n in [2, 5, 8, 10, 12]:
        outcomes = random_outcomes(rng, n=n, n_exits=3, ties=ties)
        joint = Joint(outcomes, costs)
        correct, cost = every_policy(outcomes, costs)
        for target in TARGETS:
            choice = overall(joint, target)
            found = replay(outcomes, choice, costs)
            assert choice.feasible == (correct.max() / n >= target) == (found.accuracy >= target)
            assert found.mean_cost == pytest.approx(cheapest(correct, cost, n, target), rel=1e-12)
        for target in BUDGETS:
            choice = budget(joint, target)
            found = replay(outcomes, choice, costs)
            assert choice.feasible == (cost.min() / costs.full <= target) == (found.cost_ratio <= target)
            assert found.correct.sum() == most_accurate(correct, cost, costs.full, target)


def test_with_three_side_exits_nearly_all_are_the_true_optimum_and_none_is_below_it(rng, costs):
    equal = []
    for ties in [False, True] * 6:
        outcomes = random_outcomes(rng, n=8, ties=ties)
        correct, cost = every_policy(outcomes, costs)
        joint = Joint(outcomes, costs)
        for target in TARGETS:
            choice = overall(joint, target)
            found = replay(outcomes, choice, costs)
            if choice.feasible:
                optimum = cheapest(correct, cost, len(outcomes), target)
                assert found.mean_cost >= optimum - 1e-9
                equal.append(found.mean_cost == pytest.approx(optimum))
            else:
                equal.append(correct.max() / len(outcomes) < target)
    assert np.mean(equal) >= 0.95


@pytest.mark.parametrize("kind", ["heads", "cumulative", "every_head"])
@pytest.mark.parametrize("target", [0.6, 0.75])
def test_no_threshold_of_a_policy_found_can_be_improved_alone(rng, kind, target):
    outcomes, costs = random_outcomes(rng, n=150, n_exits=5, ties=True), cost_of(kind, 5)
    joint = Joint(outcomes, costs)
    frugal, accurate = overall(joint, target).thresholds, budget(joint, target).thresholds
    least, most = replay(outcomes, Policy(frugal), costs), replay(outcomes, Policy(accurate), costs)
    for k, values in enumerate(side_thresholds(outcomes)):
        for value in values:
            other = replay(outcomes, Policy((*frugal[:k], value, *frugal[k + 1 :])), costs)
            assert other.accuracy < target or other.mean_cost >= least.mean_cost - 1e-9
            other = replay(outcomes, Policy((*accurate[:k], value, *accurate[k + 1 :])), costs)
            assert other.cost_ratio > target or other.correct.sum() <= most.correct.sum()


@pytest.mark.parametrize("multiplier", [0.01, 0.3, 2.0])
def test_no_cut_of_a_lagrangian_optimum_can_be_improved_alone(rng, costs, multiplier):
    outcomes = random_outcomes(rng, n=100, ties=True)
    (found,) = Joint(outcomes, costs).follow([multiplier], (0, 0, 0))
    values = [np.unique(column) for column in outcomes.uncertainty.T[:-1]]
    price = multiplier / costs.full
    for k, value in enumerate(values):
        for cut in range(len(value) + 1):
            cuts = (*found.cuts[:k], cut, *found.cuts[k + 1 :])
            side = [v[min(c, len(v)) - 1] if c else None for v, c in zip(values, cuts, strict=True)]
            other = replay(outcomes, Policy((*side, INF)), costs)
            assert other.correct.sum() - price * other.mean_cost * 100 <= found.n_correct - price * found.cost + 1e-9


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("kind", ["heads", "cumulative"])
def test_it_is_never_worse_than_a_shared_cutoff(rng, kind, ties):
    costs = cost_of(kind, 4)
    for _ in range(3):
        outcomes = random_outcomes(rng, n=80, ties=ties)
        joint, curve = Joint(outcomes, costs), cutoff_curve(outcomes, costs)
        for target in TARGETS:
            ours, theirs = overall(joint, target), shared(outcomes, costs, target)
            assert ours.feasible >= theirs.feasible
            found, other = (replay(outcomes, choice, costs) for choice in (ours, theirs))
            assert found.accuracy >= min(target, other.accuracy)
            assert not theirs.feasible or found.mean_cost <= other.mean_cost
        for target in BUDGETS:
            affordable = curve.mean_cost / costs.full <= target
            found = replay(outcomes, budget(joint, target), costs)
            assert found.accuracy >= curve.accuracy[affordable].max(initial=0)


def test_the_grid_agrees_with_replaying_each_of_its_policies(rng, costs):
    outcomes = random_outcomes(rng, n=40, ties=True)
    grid = grid_policies(outcomes, costs, 4)
    for place in np.ndindex(grid.mean_cost.shape):
        side = [None if b == 0 else grid.edges[k, b - 1] for k, b in enumerate(place)]
        result = replay(outcomes, Policy((*side, INF)), costs)
        assert (grid.n_correct[place], grid.mean_cost[place]) == (result.correct.sum(), pytest.approx(result.mean_cost))


def worst_ratio(outcomes, costs):
    """The highest cost relative to the grid's optimum, over targets this far below the full network."""
    joint, grid = Joint(outcomes, costs), grid_policies(outcomes, costs, 20)
    ratios = []
    for loss in [0, 0.005, 0.01, 0.03]:
        wanted = int(outcomes.correct[:, -1].sum()) - round(loss * len(outcomes))
        found = replay(outcomes, overall(joint, wanted / len(outcomes)), costs)
        assert found.correct.sum() >= wanted
        ratios.append(found.mean_cost / grid.cheapest(wanted)[0])
    return max(ratios)


def test_it_costs_at_most_two_percent_more_than_the_best_of_a_grid(rng):
    assert worst_ratio(random_outcomes(rng, n=3000, n_exits=5), cost_of("heads", 5)) <= 1.02


@pytest.mark.parametrize(
    "path",
    [SHARED / "branchynet-cifar10-test-logits.parquet", ROOT / "data/logits/test.parquet"],
    ids=["given", "ours"],
)
def test_on_real_networks_it_costs_at_most_two_percent_more_than_the_best_of_a_grid(path):
    if not path.exists():
        pytest.skip(f"there is no {path.name} here")
    cache = open_cache(path)
    outcomes = read_outcomes(cache, Scoring.plain("least_confidence", cache.exits))
    assert worst_ratio(outcomes, read_costs(ROOT / "metrics/costs.json")) <= 1.02


def test_a_decimal_target_is_met_by_exactly_that_fraction(costs):
    for numerator in range(5, 100, 10):
        correct = np.zeros((100, 4), bool)
        correct[:numerator] = True
        choice = overall(Joint(make_outcomes(np.full((100, 4), 0.3), correct), costs), float(f"0.{numerator:02d}"))
        assert choice.feasible
        assert choice.thresholds == (INF, None, None, INF)


def test_the_budget_of_the_full_network_and_of_the_first_exit_are_kept_to_the_unit(rng, costs):
    outcomes = random_outcomes(rng)
    joint = Joint(outcomes, costs)
    first = costs.static()[0] / costs.full
    assert budget(joint, first).thresholds == (INF, None, None, INF)
    assert budget(joint, first).feasible
    assert budget(joint, 1.0).feasible
    full = replay(outcomes, Policy(full_network(4)), costs)
    assert replay(outcomes, budget(joint, 1.0), costs).accuracy >= full.accuracy


def test_a_budget_below_the_cheapest_policy_is_infeasible_and_gets_that_policy(rng, costs):
    choice = budget(Joint(random_outcomes(rng), costs), 0.05)
    assert not choice.feasible
    assert choice.thresholds == (INF, None, None, INF)
    assert choice.nearest == pytest.approx(14 / 101)
    assert "0.05" in choice.reason


def test_a_target_beyond_reach_is_infeasible_and_gets_the_most_accurate_policy(costs):
    correct = np.zeros((10, 4), bool)
    correct[:6, 2] = correct[:5, 3] = True
    outcomes = make_outcomes(np.full((10, 4), 0.5), correct)
    choice = overall(Joint(outcomes, costs), 0.7)
    assert not choice.feasible
    assert choice.thresholds == (None, None, INF, INF)
    assert choice.nearest == 0.6
    assert "0.7" in choice.reason


def test_thresholds_lie_midway_and_exits_that_nobody_takes_are_disabled(costs):
    outcomes = make_outcomes(
        [[0.2, 9, 9, 9], [0.4, 9, 9, 9], [0.8, 9, 9, 9]], [[1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 1]]
    )
    assert overall(Joint(outcomes, costs), 1.0).thresholds == (pytest.approx(0.6), None, None, INF)
    assert overall(Joint(outcomes, costs), 0.6).thresholds == (INF, None, None, INF)


def test_a_disabled_head_is_paid_back_and_so_may_be_worth_disabling():
    """Three of four may leave at exit 1, but its head is so dear that all had better go on to exit 2."""
    outcomes = make_outcomes([[0.1, 0.5, 0]] * 3 + [[0.9, 0.5, 0]], [[1, 1, 1]] * 3 + [[0, 1, 1]])
    assert overall(Joint(outcomes, from_parts("macs", [1, 2, 5], [9, 1, 1])), 1.0).thresholds == (None, INF, INF)
    assert overall(Joint(outcomes, from_parts("macs", [1, 2, 5], [1, 1, 1])), 1.0).thresholds[0] == 0.5


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("n", [1, 7])
def test_all_right_or_all_wrong_everybody_leaves_where_it_is_cheapest(costs, n, right):
    outcomes = make_outcomes(np.linspace(0, 1, 4 * n).reshape(n, 4), np.full((n, 4), right))
    for choice in (overall(Joint(outcomes, costs), 0.5), budget(Joint(outcomes, costs), 0.5)):
        assert choice.thresholds == (INF, None, None, INF)
    assert overall(Joint(outcomes, costs), 0.5).feasible == right


def test_a_network_of_one_exit_has_one_policy():
    joint = Joint(make_outcomes([[0.1], [0.2]], [[1], [0]]), from_parts("macs", [10], [1]))
    assert overall(joint, 0.5) == budget(joint, 1.0)
    assert overall(joint, 0.5).thresholds == (INF,)
    assert (overall(joint, 0.9).nearest, budget(joint, 0.9).nearest) == (0.5, 1.0)
