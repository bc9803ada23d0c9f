"""Latency: parts are derived from whole runs so that what calibrators add up is what the runtime takes."""

import numpy as np
import pytest
from cases.exported import CLASSES, EXITS, exported, lively_network

from docs.readme.latency import break_even
from offramp.policies.costs import LatencyRow, from_parts, read_costs
from offramp.policies.policy import Policy
from offramp.project.files import write_json
from offramp.runtime.engines.onnx import OnnxEngine
from offramp.runtime.latency import Latency, _parts, tidy, time_parts, timed_scoring, to_json
from offramp.runtime.live import Runtime
from offramp.runtime.timing import interleaved, spread


def runs_of(segment, head, rounds=3):
    """What the policies would take whose parts cost just this, (rounds,) each."""
    full = sum(segment) + head[-1]
    taken = {"full": full, "last head": head[-1]}
    for k in range(len(segment) - 1):
        taken |= {f"leave {k}": sum(segment[: k + 1]) + head[k], f"pass {k}": full + head[k]}
    return {name: np.full(rounds, value) for name, value in taken.items()}


def test_parts_are_recovered_from_whole_runs():
    segment, head = [3.0, 5.0, 2.0], [0.5, 0.25, 1.0]
    found = _parts(runs_of(segment, head), 3, every_head=False)
    assert found.segment[0].tolist() == segment
    assert found.head[0].tolist() == head
    assert found.parts()["segment"].tolist() == segment


def test_heads_of_a_score_that_runs_them_all_are_told_apart():
    segment, head = [3.0, 5.0, 2.0], [0.5, 0.25, 1.0]
    runs = runs_of(segment, head)
    runs["leave 1"] += head[0]  # the head of the disabled exit 1 has run too
    runs["pass 1"] += head[0]
    found = _parts(runs, 3, every_head=True)
    assert found.head[0] == pytest.approx(head)
    assert found.segment[0] == pytest.approx(segment)


def test_noise_never_makes_a_part_negative_and_the_sum_stays_the_full_networks(rng):
    for _ in range(50):
        segment, head = rng.normal(0.3, 1, (5, 4)), rng.normal(0.1, 1, (5, 4))
        full = np.abs(rng.normal(5, 1, 5))
        head[:, -1] = 0.2
        parts = Latency(segment, head, full).parts()
        assert min(parts["segment"].min(), parts["head"].min()) >= 0
        assert parts["segment"].sum() + parts["head"][-1] == pytest.approx(np.median(full))


def test_what_is_measured_is_a_costs_file_and_a_tidy_table(tmp_path):
    engine = OnnxEngine(exported(lively_network()), threads=1)
    scoring = timed_scoring("entropy", EXITS, CLASSES)
    measured = {"onnx": time_parts(engine, scoring, [3, 32, 32], [1, 3], repeats=2)}
    write_json(tmp_path / "latency.json", to_json(measured, threads=1, repeats=2))
    costs = read_costs(tmp_path / "latency.json", LatencyRow("onnx", 3))
    assert costs.unit == "ms"
    assert costs.full == pytest.approx(np.median(measured["onnx"][3].full))
    rows = tidy(measured)
    assert len(rows) == 2 * (6 * 2 + 1)
    assert {row["part"] for row in rows} == {"segment", "head", "full"}
    assert all(row["ms"] >= 0 for row in rows)


def test_the_score_change_is_timed_with_all_its_predictors():
    scoring = timed_scoring("change", EXITS, CLASSES)
    engine = OnnxEngine(exported(lively_network()), threads=1)
    thresholds = (None, 0.5, None, None, None, np.inf)  # log-odds of 0: everyone leaves at exit 2
    answers = Runtime(engine, Policy(thresholds, scoring=scoring))(np.zeros((3, 32, 32, 3), np.uint8))
    assert answers.exit.tolist() == [1, 1, 1]
    assert scoring.fitted.fits(6, CLASSES)


def test_turns_alternate_and_a_turn_is_several_calls():
    calls = []
    seconds = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 20, warm_up=1, in_turn=3)
    said = "".join(calls)
    assert said[:2] == "ab"
    turns = {said[start : start + 6] for start in range(2, len(said), 6)}
    assert turns == {"aaabbb", "bbbaaa"}, "each repeat has a turn of everybody, in either order"
    assert {name: values.shape for name, values in seconds.items()} == {"a": (20,), "b": (20,)}


def test_a_spread_is_the_median_and_the_outer_tenths():
    assert spread(np.arange(11.0)) == (5.0, 1.0, 9.0)


def test_an_exit_pays_from_the_share_on_at_which_leaving_there_saves_what_its_head_costs():
    costs = from_parts("ms", [3.0, 5.0, 2.0], [0.5, 0.25, 1.0])
    share = break_even(costs, 0)
    assert share == pytest.approx(0.5 / 8)  # the head costs 0.5; who leaves pays 3.5, who does not 11.5
    assert share * 3.5 + (1 - share) * 11.5 == pytest.approx(costs.full)
