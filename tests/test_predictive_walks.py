"""Walks against literal loops over single samples, and against the same route asked head after head."""

import numpy as np
import pytest
from test_predictive_engine import literal_forecast

from offramp.policies.costs import from_parts
from offramp.policies.outcomes import observe
from offramp.policies.routes.jumps import ConstantJump, RandomJump, jump_histogram, uniform
from offramp.policies.routes.learned import fit_learned
from offramp.policies.routes.observed import Look, OneExit
from offramp.policies.routes.routes import EveryExit, Placed, Predictive, SingleJump
from offramp.policies.routes.walk import Decider
from offramp.scores.activation import Activation
from offramp.scores.scoring import Scoring
from studies.predictive_exit.controls import HandRule, OracleExit, OracleLabel, RatioOnly, fit_ratio_only
from studies.predictive_exit.material import joined

N, EXITS, BETA = 150, 9, 2.6
THRESHOLDS = tuple(np.linspace(1.4, 0.6, EXITS).tolist())
LOOK = Look(Activation(THRESHOLDS), 8, predictors=True)
COSTS = from_parts("macs", [10.0] * EXITS, [3.0] * EXITS)


@pytest.fixture(scope="module")
def cache():
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(N, EXITS, 10)).astype(np.float32)
    return logits, rng.integers(0, 10, N), rng.permutation(N) + 1000


@pytest.fixture(scope="module")
def table(cache):
    return observe(LOOK, *cache)


def fires(z, exit_number):
    return np.abs(z).max() >= BETA * THRESHOLDS[exit_number]


def literal_jump(route, z, exit_number, key):
    """How far ahead one sample looks, written down once more for every kind of route."""
    share = float(np.abs(z).max()) / (BETA * THRESHOLDS[exit_number])
    match route:
        case Predictive():
            return literal_forecast(z, BETA, THRESHOLDS, exit_number, route.horizon)
        case ConstantJump():
            return route.ahead
        case HandRule():
            return 3 if share > 0.7 else 4 if share > 0.4 else 5
        case RatioOnly():
            return min(k for k in range(1, 9) if k == 8 or share * route.base**k >= 1 - 1e-9)
        case Placed():
            return min([m for m in route.exits if m > exit_number], default=EXITS) - exit_number
        case RandomJump():
            drawn = uniform(np.array([key]), exit_number, route.seed)[0] * sum(route.weights)
            return next(k for k in range(1, 9) if drawn < sum(route.weights[:k]))
    return 1


def literal_walk(route, logits, key):
    """Where one sample leaves, which heads it runs, and how far its forecasts send it."""
    exit_number, visited, ahead = route.start, [], {}
    while exit_number < EXITS - 1:
        visited.append(exit_number)
        z = logits[exit_number]
        if fires(z, exit_number) or (isinstance(route, SingleJump) and len(visited) > 1):
            return exit_number, visited, ahead
        if exit_number == EXITS - 2:
            break
        target = exit_number + literal_jump(route, z, exit_number, key)
        target = min(target, EXITS - 2 if route.clamp else EXITS - 1)
        if route.forecasts:
            ahead[exit_number] = target - exit_number
        exit_number = target
    return EXITS - 1, [*visited, EXITS - 1], ahead


ROUTES = [
    EveryExit(),
    EveryExit(start=3),
    EveryExit(start=EXITS - 1),
    EveryExit(start=50),
    Placed(exits=(1, 4, 5)),
    Placed(exits=(1, 4, 5), start=2),
    Placed(exits=()),
    Predictive(),
    Predictive(clamp=False),
    Predictive(start=2, horizon=5),
    Predictive(start=5, clamp=False),
    SingleJump(start=1),
    SingleJump(clamp=False),
    ConstantJump(ahead=3),
    ConstantJump(ahead=3, clamp=False),
    HandRule(start=1),
    RatioOnly(base=1.5),
    RandomJump(weights=(1.0, 0.0, 2.0, 1.0)),
]


@pytest.mark.parametrize("route", ROUTES, ids=repr)
def test_a_walk_is_the_literal_loop_over_samples(route, cache, table):
    found = route.walk(table, -BETA)
    for row, (logits, key) in enumerate(zip(cache[0], cache[2], strict=True)):
        start = min(route.start, EXITS - 1)
        taken, visited, ahead = literal_walk(route, logits, key) if start < EXITS - 1 else (EXITS - 1, [EXITS - 1], {})
        assert found.taken[row] == taken
        assert np.flatnonzero(found.visited[row]).tolist() == visited
        assert {k: found.jump[row, k] for k in np.flatnonzero(found.jump[row])} == ahead


def live(decider, logits, key):
    """Run a decider on a batch (samples, exits, classes), every head on its own rows only."""
    taken, target = np.full(len(logits), -1), np.full(len(logits), decider.start)
    for k in range(EXITS):
        rows = np.flatnonzero((target == k) & (taken < 0))
        if len(rows):
            leaves, following = decider.at(k, logits[rows, k], key[rows])
            assert (following[~leaves] > k).all()
            taken[rows[leaves]] = k
            target[rows] = following
    return taken


def test_the_runtime_decides_as_replay_does_in_batches_of_any_size(cache, table):
    logits, _, key = cache
    for route in [*ROUTES, fit_learned(table, -BETA, COSTS, start=1)]:
        expected = route.walk(table, -BETA).taken
        decider = Decider(route, LOOK, -BETA, EXITS)
        for size, n in ((1, 30), (7, 70), (N, N)):
            found = [live(decider, logits[i : i + size], key[i : i + size]) for i in range(0, n, size)]
            assert np.array_equal(np.concatenate(found), expected[:n]), route


def test_oracles_run_one_head_at_the_first_good_exit(cache, table):
    logits, label, _ = cache
    by_rule, by_label = OracleExit(start=1).walk(table, -BETA), OracleLabel().walk(table, -BETA)
    for row in range(N):
        rule = [k for k in range(1, EXITS) if k == EXITS - 1 or fires(logits[row, k], k)]
        right = [k for k in range(EXITS) if k == EXITS - 1 or logits[row, k].argmax() == label[row]]
        assert by_rule.taken[row] == rule[0]
        assert by_label.taken[row] == right[0]
    assert (by_rule.heads == 1).all()
    assert (by_rule.taken == EveryExit(start=1).walk(table, -BETA).taken).all()
    assert (by_label.visited.argmax(axis=1) == by_label.taken).all()
    with pytest.raises(ValueError, match="can be replayed, not run"):
        Decider(OracleExit(), LOOK, -BETA, EXITS)


def test_a_multi_jump_trace_by_hand():
    logits = np.zeros((1, 6, 5))
    logits[0, 0] = [0, 0, 1, 0, 0]  # powers 1, 1, 3, 6 (the border takes one): β·T = 5 is exceeded in round 3
    logits[0, 3] = [2, 2, 0, 0, 0]  # round 1 gives 4, round 2 gives 8
    table = observe(Look(Activation((1.0,) * 6), 8), logits, np.array([0]), np.array([0]))
    free, clamped = (Predictive(clamp=clamp).walk(table, -5.0) for clamp in (False, True))
    assert free.jump.tolist() == [[3, 0, 0, 2, 0, 0]]
    assert np.flatnonzero(free.visited).tolist() == [0, 3, 5]
    assert clamped.jump.tolist() == [[3, 0, 0, 1, 0, 0]]
    assert np.flatnonzero(clamped.visited).tolist() == [0, 3, 4, 5]


def test_outcomes_may_be_read_in_batches(cache, table):
    parts = [observe(LOOK, *(column[i : i + 40] for column in cache)) for i in range(0, N, 40)]
    whole = joined(parts)
    for name in ("sample", "uncertainty", "correct", "growth", "predictors"):
        assert np.array_equal(getattr(whole, name), getattr(table, name)), name


def test_other_scores_take_routes_that_need_no_engine(cache):
    names = [f"exit_{k + 1}" for k in range(EXITS)]
    scoring = Scoring.plain("entropy", names)
    table = observe(Look(OneExit(scoring)), *cache)
    assert np.array_equal(table.uncertainty, scoring(cache[0]))
    with pytest.raises(ValueError, match="needs the engine"):
        Predictive().walk(table, 0.0)
    with pytest.raises(ValueError, match="compares activations"):
        HandRule().walk(table, 0.0)


def test_controls_are_fitted_on_first_jumps(table):
    beta = 3.2
    histogram = jump_histogram(table, -beta, 0)
    stays = ~table.fires(-beta)[:, 0]
    first = table.fires(-beta)[stays, 1:].argmax(axis=1)
    assert histogram == tuple(np.bincount(first).astype(float))
    drawn = 1 + np.searchsorted(np.cumsum(histogram), uniform(np.arange(20_000), 0, 17) * sum(histogram), side="right")
    np.testing.assert_allclose(np.bincount(drawn)[1:] / 20_000, np.array(histogram) / sum(histogram), atol=0.012)
    misses = []
    for base in (1.1, fit_ratio_only(table, -beta, 0).base, 2.9):
        said = RatioOnly(base=base).jumps(table.at(0, np.flatnonzero(stays)), -beta)
        misses.append(np.abs(said - 1 - first).mean())
    assert misses[1] <= min(misses)
