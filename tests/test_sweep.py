import csv
import math

import pytest

from conftest import random_outcomes
from offramp.sweep import sweep, write_cutoff, write_sweep


def test_the_sweep_starts_with_the_full_network_and_ends_at_the_first_exit(rng, costs, tmp_path):
    outcomes = random_outcomes(rng, n=400)
    steps = list(sweep(outcomes, costs, 11))
    assert next(cutoff for cutoff, _ in steps) == 0
    assert [cutoff for cutoff, _ in steps][-1] == pytest.approx(math.log(2))
    write_sweep(tmp_path / "sweep.csv", outcomes, costs, 11)
    rows = list(csv.DictReader((tmp_path / "sweep.csv").open()))
    assert all(sum(float(row[name]) for name in outcomes.exits) == pytest.approx(1) for row in rows)
    detail = write_cutoff(tmp_path / "s.json", outcomes, costs, 0.3)
    assert sum(row["samples"] for row in detail["exits"].values()) == len(outcomes)
