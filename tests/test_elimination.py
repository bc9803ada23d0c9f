import math

import numpy as np
import pytest
from conftest import make_outcomes, random_outcomes

from offramp.calibration.elimination import eliminate, masked, without_dear_exits
from offramp.policies.costs import from_parts
from offramp.policies.policy import Policy, full_network
from offramp.policies.replay import replay

INF = math.inf


def ratio(outcomes, thresholds, costs):
    return replay(outcomes, Policy(thresholds), costs).cost_ratio


def test_an_exit_whose_head_takes_longer_than_it_saves_is_given_up_by_hand():
    """Two of four leave at exit 1 and skip segments of 3 + 1 and a head of 1; two at exit 2, whose head costs 9."""
    outcomes = make_outcomes([[0, 9, 9], [0, 9, 9], [9, 0, 9], [9, 0, 9]], np.ones((4, 3)))
    costs = from_parts("ms", [1, 3, 1], [1, 9, 1])
    kept = without_dear_exits((0.5, 0.5, INF), outcomes.uncertainty, costs)
    assert kept == (0.5, None, INF)
    assert ratio(outcomes, kept, costs) == (2 * 2 + 2 * 7) / 4 / 6
    dear_everywhere = from_parts("ms", [1, 3, 1], [9, 9, 1])
    assert without_dear_exits((0.5, 0.5, INF), outcomes.uncertainty, dear_everywhere) == full_network(3)
    free = from_parts("ms", [1, 3, 1], [0, 0, 1])
    assert without_dear_exits((0.5, 0.5, INF), outcomes.uncertainty, free) == (0.5, 0.5, INF)


def test_an_exit_that_nobody_takes_is_given_up(rng):
    outcomes = random_outcomes(rng, n_exits=3)
    thresholds = (-1.0, 0.5, INF)
    assert without_dear_exits(thresholds, outcomes.uncertainty, from_parts("ms", [5, 5, 5], [1, 1, 1]))[0] is None


def plain_loop(outcomes, thresholds, costs):
    """Give up one exit at a time, that which saves most, the first of equals, as long as one saves anything."""
    paid = ratio(outcomes, thresholds, costs)
    while True:
        cheaper = []
        for k, threshold in enumerate(thresholds[:-1]):
            if threshold is not None:
                fewer = (*thresholds[:k], None, *thresholds[k + 1 :])
                cheaper.append((ratio(outcomes, fewer, costs), fewer))
        lowest = min((option[0] for option in cheaper), default=INF)
        if not lowest < paid * (1 - 1e-9):
            return thresholds
        paid, thresholds = next(option for option in cheaper if option[0] * (1 - 1e-9) <= lowest)


@pytest.mark.parametrize("every_head", [False, True])
def test_it_equals_a_plain_loop(rng, every_head):
    """Two implementations, one over patterns of exits and one over samples, on random networks and thresholds."""
    changed = 0
    for _ in range(60):
        n_exits = int(rng.integers(2, 6))
        outcomes = random_outcomes(rng, n=40, n_exits=n_exits, ties=True)
        costs = from_parts("ms", rng.random(n_exits), 0.4 * rng.random(n_exits))
        if every_head:
            costs = type(costs)(
                costs.unit, costs.cumulative, costs.full, costs.segment, costs.head, every_head=every_head
            )
        thresholds = (*(None if rng.random() < 0.2 else float(rng.random()) for _ in range(n_exits - 1)), INF)
        kept = without_dear_exits(thresholds, outcomes.uncertainty, costs)
        assert kept == plain_loop(outcomes, thresholds, costs)
        assert ratio(outcomes, kept, costs) <= ratio(outcomes, thresholds, costs) + 1e-12
        for k in range(n_exits - 1):
            fewer = (*kept[:k], None, *kept[k + 1 :])
            assert ratio(outcomes, fewer, costs) >= ratio(outcomes, kept, costs) - 1e-9
        changed += kept != thresholds
    assert changed > 15


def test_of_equal_savings_the_first_exit_counts_and_an_infinite_cost_is_never_chosen():
    assert eliminate(4, lambda enabled: max(2, sum(enabled))) == (False, False, True, True)
    assert eliminate(3, lambda enabled: 1.0 if all(enabled) else INF) == (True, True, True)
    assert eliminate(3, lambda enabled: INF if all(enabled) else 1.0) == (False, True, True)
    assert eliminate(1, lambda _: 1.0) == (True,)
    assert masked((0.1, 0.2, INF), (False, True, True)) == (None, 0.2, INF)
