import json
import math

import numpy as np
import pytest
from conftest import make_outcomes, random_outcomes

from offramp.policies.costs import read_costs, write_costs
from offramp.policies.policy import Policy, full_network
from offramp.policies.replay import replay
from offramp.project.errors import InputError

INF = math.inf


def test_a_sample_pays_segments_and_every_head_run_on_the_way(costs):
    assert costs.at_exits([True] * 4).tolist() == [14, 37, 69, 110]
    assert costs.full == 101


def test_a_disabled_head_is_refunded(costs):
    assert costs.at_exits([False, True, False, True]).tolist() == [10, 33, 63, 104]
    assert costs.at_exits([False, False, False, True])[-1] == costs.full


def test_static_networks_pay_one_head(costs):
    assert costs.static().tolist() == [14, 33, 62, 101]


def test_costs_survive_a_round_trip(tmp_path, costs):
    write_costs(tmp_path / "costs.json", [f"exit_{k}" for k in range(1, 5)], [10, 20, 30, 40], [4, 3, 2, 1])
    again = read_costs(tmp_path / "costs.json")
    assert again.cumulative.tolist() == costs.cumulative.tolist()
    assert again.full == costs.full


def test_a_file_with_cumulative_costs_alone_refunds_nothing(tmp_path):
    path = tmp_path / "costs.json"
    path.write_text(
        json.dumps({"unit": "macs", "full": 9, "exits": {"exit_1": {"cumulative": 4}, "exit_2": {"cumulative": 10}}})
    )
    costs = read_costs(path)
    assert not costs.refunds_disabled_heads
    assert costs.at_exits([True, True]).tolist() == [4, 10]
    assert costs.at_exits([False, True]).tolist() == [9, 9]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"unit": "macs", "exits": {}, "full": 1}',
        '{"unit": "macs", "exits": {"exit_2": {"cumulative": 1}}, "full": 1}',
        '{"unit": "macs", "exits": {"exit_1": {"cumulative": -1}}, "full": 1}',
        '{"unit": "macs", "exits": {"exit_1": {"cumulative": 1}}, "full": NaN}',
    ],
)
def test_a_broken_costs_file_is_refused(tmp_path, content):
    (tmp_path / "costs.json").write_text(content)
    with pytest.raises(InputError, match=r"costs\.json"):
        read_costs(tmp_path / "costs.json")


def test_replay_of_a_hand_made_cache(costs):
    outcomes = make_outcomes(
        [[0.1, 1, 1, 0], [0.9, 0.2, 1, 0], [0.9, 0.9, 0.9, 9]], [[1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]]
    )
    result = replay(outcomes, Policy((0.5, 0.5, None, INF)), costs)
    assert result.taken.tolist() == [0, 1, 3]
    assert result.accuracy == pytest.approx(2 / 3)
    assert result.mean_cost == pytest.approx((14 + 37 + 108) / 3)
    assert result.cost_ratio == pytest.approx((14 + 37 + 108) / 3 / 101)
    exits = result.exits(outcomes.exits)
    assert exits["exit_3"] == {"share": 0.0}
    assert exits["exit_2"] == {"share": pytest.approx(1 / 3), "accuracy": 0.0}


def test_the_full_network_costs_exactly_its_full_cost(rng, costs):
    outcomes = random_outcomes(rng)
    result = replay(outcomes, Policy(full_network(4)), costs)
    assert result.cost_ratio == 1
    assert result.accuracy == outcomes.correct[:, -1].mean()


def test_cost_falls_and_shares_add_up_as_a_shared_cutoff_rises(rng, costs):
    outcomes = random_outcomes(rng, n=300)
    results = [replay(outcomes, Policy((t, t, t, INF)), costs) for t in np.linspace(0, 1, 30)]
    assert (np.diff([result.mean_cost for result in results]) <= 0).all()
    assert all(
        sum(row["share"] for row in result.exits(outcomes.exits).values()) == pytest.approx(1) for result in results
    )
