"""The learned forecast, comparisons at equal accuracy, what permutations change, and how long a sweep takes."""

import time

import numpy as np
import pytest

from offramp.calibration.routes import cut_grid
from offramp.policies.costs import from_parts
from offramp.policies.outcomes import observe
from offramp.policies.routes.learned import fit_learned
from offramp.policies.routes.observed import Look
from offramp.policies.routes.routes import EveryExit, Predictive
from offramp.scores.activation import Activation, thresholds_of
from studies.predictive_exit.comparison import Curve, choose, compare_routes, measure_route, sweep
from studies.predictive_exit.controls import OracleExit
from studies.predictive_exit.sensitivity import centred, changes, permutation_sensitivity

EXITS, CLASSES = 12, 10
COSTS = from_parts("macs", [1e5] * EXITS, [12e3] * EXITS)


def planted(n, seed):
    """Logits whose winning one grows evenly up to a depth that every exit shows; answers are right from there on."""
    rng = np.random.default_rng(seed)
    depth, label = rng.integers(1, EXITS, n), rng.integers(0, CLASSES, n)
    exits = np.arange(EXITS)
    peak = 6 * np.minimum((exits + 1) / (depth[:, None] + 1), 1.2) + rng.normal(0, 0.25, (n, EXITS))
    answer = np.where(exits >= depth[:, None], label[:, None], (label[:, None] + 1) % CLASSES)
    logits = rng.normal(0, 0.3, (n, EXITS, CLASSES))
    np.put_along_axis(logits, answer[:, :, None], peak[:, :, None], axis=2)
    return logits, label, np.arange(n)


@pytest.fixture(scope="module")
def tables():
    tune, *others = (planted(n, seed) for n, seed in ((1200, 0), (1500, 1), (3000, 2)))
    look = Look(Activation((1.0,) * EXITS), 8, predictors=True)
    return look, tuple(observe(look, *rows) for rows in (tune, *others))


def test_the_learned_forecast_beats_the_engine_at_equal_accuracy_on_held_out_rows(tables):
    _, (tune, validation, test) = tables
    families = {
        "every_exit": [lambda _: EveryExit()],
        "predictive": [lambda _, s=s: Predictive(start=s) for s in (0, 1, 2)],
        "learned": [lambda cut: fit_learned(tune, cut, COSTS)],
        "oracle_exit": [lambda _: OracleExit()],
    }
    cuts = np.array(cut_grid(tune.uncertainty[:, :-1], 60))
    rows = {row.name: row for row in compare_routes(families, validation, test, cuts, COSTS, 0.9, "predictive")}
    learned, oracle = rows["learned"], rows["oracle_exit"]
    assert all(row.feasible for row in rows.values())
    assert learned.cost_difference[2] < -0.01  # the interval is below 0
    assert learned.accuracy_difference[2] > -0.01
    assert rows["every_exit"].cost > learned.cost > oracle.cost
    assert learned.heads < 0.6 * rows["every_exit"].heads


def test_expected_costs_are_learnt_backwards(tables):
    _, (tune, _, _) = tables
    cut = float(np.quantile(tune.uncertainty[:, :-1], 0.4))
    dear = from_parts("macs", [1.0] * EXITS, [200.0] * EXITS)  # a head costs more than the whole trunk
    free = from_parts("macs", [1e6] * EXITS, [0.0] * EXITS)
    assert measure_route(tune, fit_learned(tune, cut, dear), cut, dear).heads < 2.1
    every, learned = (measure_route(tune, route, cut, free) for route in (EveryExit(), fit_learned(tune, cut, free)))
    assert learned.cost.mean() == pytest.approx(every.cost.mean(), rel=0.01)  # nothing is gained by not looking
    nobody = fit_learned(tune, -np.inf, COSTS).walk(tune, -1e300)
    assert (nobody.heads == 2).all()  # no exit ever fires: from the first straight to the last


def test_shuffled_classes_change_the_engine_and_not_the_learned_forecast(tables):
    look, (tune, _, _) = tables
    logits = np.random.default_rng(5).normal(size=(300, EXITS, CLASSES))
    cut = -2.2
    engine = permutation_sensitivity(look, Predictive(), cut, logits, shuffles=10)
    learned = permutation_sensitivity(look, fit_learned(tune, cut, COSTS), cut, logits, shuffles=10)
    assert engine.fires == 0
    assert engine.jumps > 0.1
    assert engine.taken > 0.01
    assert (learned.fires, learned.jumps, learned.taken) == (0, 0, 0)


def test_a_constant_added_to_all_logits_changes_decisions():
    logits = np.random.default_rng(6).normal(0.2, 1, (300, EXITS, CLASSES))

    def look_for(z, statistic):
        return Look(Activation(thresholds_of(z.shape[1], [(z, np.zeros(len(z), int))], statistic)), 8)

    for statistic, cut, least in (("signed_mean", -12.0, 0.5), ("mean_abs", -2.5, 0.01)):
        n, moved = len(logits), centred(logits)
        before, after = (observe(look_for(z, statistic), z, np.full(n, -1), np.arange(n)) for z in (logits, moved))
        found = changes(Predictive(), cut, before, after)
        assert found.fires > least
        assert found.taken > 0.01


def test_the_cheapest_cut_that_reaches_the_target_is_chosen():
    curve = Curve(np.arange(4.0), np.array([0.9, 0.8, 0.85, 0.85]), np.array([9.0, 2, 5, 5]), np.ones(4))
    assert choose(curve, 0.82) == (2, True)
    assert choose(curve, 0.7) == (1, True)
    assert choose(curve, 0.95) == (0, False)


def test_a_hundred_betas_of_ten_thousand_samples_and_twenty_exits_take_seconds():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(10_000, 21, 10)).astype(np.float32)
    label, costs = rng.integers(0, 10, 10_000), from_parts("macs", [10.0] * 21, [1.0] * 21)
    table = observe(Look(Activation((1.0,) * 21), 8), logits, label, np.arange(10_000))
    betas = np.linspace(1.0, 5.0, 100)  # from nearly all at the first exit to nearly all at the last
    begun = time.process_time()  # of this process alone: others may hold the cores
    curve = sweep(table, lambda _: Predictive(), -betas, costs)
    assert time.process_time() - begun < 4
    assert curve.cost[-1] > curve.cost[0]
