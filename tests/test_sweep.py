import csv
import math

import pytest
from conftest import random_outcomes
from matplotlib.legend import Legend

from offramp.evaluation.sweep import sweep, write_cutoff, write_sweep
from offramp.figures.sweep import draw_sweep
from offramp.policies.policy import Policy
from offramp.policies.replay import replay
from offramp.policies.rules import THRESHOLD, Batch
from offramp.project.files import significant


def test_the_sweep_starts_with_the_full_network_and_ends_at_the_first_exit(rng, costs, tmp_path):
    outcomes = random_outcomes(rng, n=400)
    steps = list(sweep(outcomes, costs, 11))
    assert next(cutoff for cutoff, _ in steps) == 0
    assert [cutoff for cutoff, _ in steps][-1] == pytest.approx(math.log(2))
    write_sweep(tmp_path / "sweep.csv", outcomes, costs, 11, 1)
    rows = list(csv.DictReader((tmp_path / "sweep.csv").open()))
    assert all(sum(float(row[name]) for name in outcomes.exits) == pytest.approx(1) for row in rows)
    detail = write_cutoff(tmp_path / "s.json", outcomes, costs, 0.3)
    assert sum(row["samples"] for row in detail["exits"].values()) == len(outcomes)


def test_batches_are_swept_beside_single_samples_with_the_macs_of_all(rng, costs, tmp_path, monkeypatch):
    outcomes = random_outcomes(rng, n=100)
    outcomes = outcomes.take(rng.permutation(100))
    write_sweep(tmp_path / "sweep.csv", outcomes, costs, 9, 8)
    rows = list(csv.DictReader((tmp_path / "sweep.csv").open()))
    assert [row["rule"] for row in rows] == ["threshold"] * 9 + ["batch_max"] * 9 + ["batch_mean"] * 9
    for row in rows:
        cutoff, size = float(row["cutoff"]), int(row["batch_size"])
        rule = Batch(size, row["rule"].removeprefix("batch_"), cutoff) if size > 1 else THRESHOLD
        result = replay(outcomes, Policy((cutoff,) * 3 + (math.inf,), rule, method="batch", target=0.5), costs)
        assert float(row["accuracy"]) == significant(result.accuracy)
        assert int(row["total_macs"]) == sum(int(costs.cumulative[k]) for k in result.taken)
        assert int(row["full_total_macs"]) == 101 * 100
        assert float(row["mac_ratio"]) == pytest.approx(int(row["total_macs"]) / int(row["full_total_macs"]), rel=1e-5)
    assert len({row["accuracy"] for row in rows[9:18]}) > 2
    write_cutoff(tmp_path / "sweep.json", outcomes, costs, 0.3)
    drawn = []
    monkeypatch.setattr("offramp.figures.style.plt.close", drawn.append)
    draw_sweep(tmp_path, tmp_path / "sweep.csv", tmp_path / "sweep.json")
    legends = [legend for part in (drawn[0], *drawn[0].axes) for legend in part.findobj(Legend)]
    text = " ".join(label.get_text() for legend in legends for label in legend.get_texts())
    assert all(words in text for words in ("batches of 8: mean entropy", "batches of 8: largest entropy"))
