"""Costs, placement, forecast quality and modelled energy, by hand."""

import numpy as np
import pytest

from offramp.calibration.placement import place, placement
from offramp.policies.costs import Costs, from_parts
from offramp.policies.outcomes import Outcomes
from offramp.policies.routes.jumps import ConstantJump
from offramp.policies.routes.routes import EveryExit, Predictive
from offramp.policies.routes.walk import Walk, heads_per_sample, step_costs, walk_costs
from offramp.project.errors import InputError
from studies.predictive_exit.contest import forecast_quality
from studies.predictive_exit.energy import Device, Work, walk_energy, work_of


def table_of(fires, growth=None):
    """Outcomes whose exits fire, at cut 0, where `fires` (samples, side exits) says."""
    fires = np.asarray(fires, bool)
    n, sides = fires.shape
    values = np.where(fires, -1.0, 1.0)
    values = np.append(values, np.ones((n, 1)), axis=1)
    right, names = np.ones((n, sides + 1), bool), [f"exit_{k + 1}" for k in range(sides + 1)]
    return Outcomes(np.arange(n), np.zeros(n, int), values, right, right, names, list("0123456789"), growth=growth)


def test_a_sample_pays_segments_heads_and_forecasts(costs):
    visited = np.array([[1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 0, 0]], bool)
    jump = np.array([[2, 0, 0, 0], [3, 0, 0, 0], [0, 0, 0, 0]], np.int16)
    walk = Walk(np.array([2, 3, 1]), visited, jump)
    # segments 10 20 30 40, heads 4 3 2 1, a forecast 160
    assert walk_costs(walk, costs, step_costs(Predictive(), costs, 10)).tolist() == [226, 265, 33]
    assert walk_costs(walk, costs).tolist() == [66, 105, 33]
    assert heads_per_sample(walk) == pytest.approx(5 / 3)
    assert np.bincount(walk.taken, minlength=4).tolist() == [0, 1, 1, 1]
    times = from_parts("ms", [1.0] * 4, [1.0] * 4)
    assert step_costs(Predictive(), times, 10) is None
    with pytest.raises(InputError, match="only cumulative"):
        walk_costs(walk, Costs("macs", np.arange(1.0, 5.0), 4.0))


def test_checking_every_exit_costs_what_thresholds_cost(costs):
    table = table_of(np.tril(np.ones((3, 3)))[::-1])
    walk = EveryExit().walk(table, 0.0)
    assert walk_costs(walk, costs).tolist() == costs.at_exits([True] * 4)[walk.taken].tolist()


def test_placement_of_vgg_19_on_true_macs_is_that_of_the_reference():
    widths, blocks = [3, 64, 64, 128, 128, 256, 256, 256, 256] + [512] * 8, [2, 2, 4, 4, 4]
    segment, head, size, conv = [], [], 32, 0
    for block, n_convs in enumerate(blocks):
        for _ in range(n_convs):
            inside, outside = widths[conv], widths[conv + 1]
            conv += 1
            segment.append(size * size * 9 * inside * outside)
            head.append(size * size * outside * 64 + (256 * 64 if block < 4 else 0) + 640)
        size //= 2
        if block < 4:
            segment.append(0)
            head.append(size * size * outside * 64 + 640)
    costs = from_parts("macs", [*segment, 0], [*head, 5120])
    assert len(segment) == 20
    assert costs.full == 398_136_320
    found = placement(np.ones(20), costs)
    assert [m + 1 for m in found.exits] == [1, 3, 4, 6, 7, 11, 12, 16]
    assert np.array_equal(found.least <= 1, found.kept)
    halfway = placement(np.where(found.kept, found.least - 1e-9, 0.0), costs)
    assert halfway.exits == ()


def test_placement_uses_the_share_that_leaves_where_an_exit_is_the_only_one():
    costs = from_parts("macs", [10, 10, 30, 30], [1, 2, 5, 1])
    found = place(table_of([[1, 1, 0], [0, 1, 1], [0, 1, 0], [1, 1, 0]]), 0.0, costs)
    assert found.share.tolist() == [0.5, 1.0, 0.25]
    assert found.margin.tolist() == [-0.5 - 5, 0.5 * 30 - 2 - 5, -0.25 * 30 - 0.25 * 5 - 15]
    assert found.least.tolist() == [10 / 9, 20 / 28, 30 / 25]
    assert found.exits == (1,)


def test_forecasts_are_scored_as_the_authors_do_and_in_exits():
    #          start . . . . . last side; the first exit that fires after the start is j ahead
    fires = np.zeros((6, 7), bool)
    fires[0, 0] = True  # fires at the start: not scored
    fires[1, [2, 3]] = True  # j = 2: hit
    fires[2, [1, 2]] = True  # j = 1: overshoot by 1, which hits
    fires[3, 1] = True  # j = 1: overshoot by 1, which misses
    fires[4, 5] = True  # j = 5: undershoot, censored at horizon 2
    #                     row 5 never fires: j = 7, undershoot by 5, censored
    found = forecast_quality(table_of(fires), ConstantJump(ahead=2), 0.0, horizon=2)
    assert found.scored == 5
    assert (found.exact, found.censored_exact) == (0.2, 0.6)
    assert (found.overshoot, found.overshoot_layers, found.undershoot) == (0.4, 0.4, 0.4)
    assert found.mean_absolute_error == (0 + 1 + 1 + 3 + 5) / 5
    assert found.first_hit == 0.4


DEVICE = Device((100.0, 250.0, 500.0), (0.5, 0.8, 1.0), capacitance_nf=2.0, static_w=3.0, idle_w=0.5)
WORK = Work(np.full(5, 10.0), np.array([1.0, 1.0, 1.0, 1.0, 2.0]))  # deadline 52 ms


def one_walk(taken, visited, jump):
    row = np.zeros((1, 5), bool)
    row[0, visited] = True
    ahead = np.zeros((1, 5), np.int16)
    for k, value in jump.items():
        ahead[0, k] = value
    return Walk(np.array([taken]), row, ahead)


def test_energy_by_hand():
    # after exit 1: 1 of 4 layers ahead, 125 MHz; the next level is 250, where 11 ms take 22
    found = walk_energy(one_walk(1, [0, 1], {0: 1}), WORK, DEVICE)
    fast, slow = 2.0 * 1.0 * 500 * 1e-3 + 3.0, 2.0 * 0.64 * 250 * 1e-3 + 3.0  # W
    assert found.levels.tolist() == [[2, 1, -1, -1, -1]]
    assert found.scaled_ms.tolist() == [11 + 22]
    assert found.scaled == pytest.approx(11 * fast + 22 * slow + 19 * 0.5)
    assert found.race == pytest.approx(22 * fast + 30 * 0.5)
    assert found.full == pytest.approx(52 * fast)
    assert found.transitions.tolist() == [2]
    assert not found.late.any()


def test_a_level_is_raised_where_the_target_would_miss_the_deadline():
    # after 11 ms of 42 + x, a segment of x ms and its head at 250 MHz take 2 (x + 1); one layer of four asks for 125
    for heavy, level in ((29.0, 1), (29.1, 2)):
        work = Work(np.array([10.0, heavy, 10.0, 10.0, 10.0]), WORK.head_ms)
        found = walk_energy(one_walk(1, [0, 1], {0: 1}), work, DEVICE)
        assert found.levels[0, 1] == level
        assert not found.late.any()


def test_a_forecast_that_fails_is_late_and_a_full_reserve_never_slows_down():
    walk = one_walk(4, [0, 1, 4], {0: 1, 1: 3})
    late = walk_energy(walk, WORK, DEVICE)
    assert late.scaled_ms.tolist() == [11 + 22 + 32]  # second forecast: straight to the last, no time to spare
    assert late.late.tolist() == [True]
    kept = walk_energy(walk, WORK, DEVICE, reserve=1.0)
    assert kept.levels.tolist() == [[2] * 5]
    assert kept.scaled == pytest.approx(kept.race)


def test_changing_frequency_takes_time_and_energy():
    device = Device((250.0, 500.0), (0.8, 1.0), 2.0, 3.0, switch_ms=2.0, switch_mj=5.0)
    plain = walk_energy(one_walk(1, [0, 1], {0: 1}), WORK, Device((250.0, 500.0), (0.8, 1.0), 2.0, 3.0))
    found = walk_energy(one_walk(1, [0, 1], {0: 1}), WORK, device)
    assert found.scaled_ms[0] == plain.scaled_ms[0] + 2
    assert found.scaled[0] == pytest.approx(plain.scaled[0] + 2 * 5 + 2 * 3)


def test_without_forecasts_nothing_is_slowed_down():
    found = walk_energy(one_walk(2, [0, 1, 2], {}), WORK, DEVICE)
    assert found.scaled.tolist() == found.race.tolist()
    assert found.transitions.tolist() == [0]


def test_work_is_what_costs_say():
    assert work_of(from_parts("ms", [1.0, 2.0], [3.0, 4.0]), DEVICE).deadline_ms == 7
    macs = work_of(from_parts("macs", [1e6, 2e6], [0, 5e5]), DEVICE, macs_per_cycle=2.0)
    assert macs.segment_ms.tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="macs_per_cycle"):
        work_of(from_parts("macs", [1.0], [1.0]), DEVICE)
    with pytest.raises(ValueError, match="ascend"):
        Device((2.0, 1.0), (1.0, 1.0), 1.0, 1.0)
