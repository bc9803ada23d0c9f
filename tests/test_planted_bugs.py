"""The suite would notice: with a fault planted in the shipped code, a check of test_validity fails."""

from contextlib import nullcontext

import numpy as np
import pytest
from experiments.certificates.harness import DELTA, Truth, allowed, resample
from experiments.certificates.planted import FAULTS, delta_not_split, replaced
from experiments.certificates.size import Cell

from conftest import make_outcomes
from offramp.calibration.certified import certified
from offramp.calibration.joint import Joint
from offramp.calibration.problem import Problem
from offramp.certificates.families import Candidate
from offramp.costs import from_parts
from offramp.settings import Settings
from test_validity import FEW, MORE, TOGETHER, check_boundary, check_size

COSTS = from_parts("macs", [10] * 5, [1] * 5)
SIZES = {
    "Hoeffding-Bentkus on signed losses": (Cell("score", 1000, 0.01, DELTA), 0.08),
    "normal approximation": (Cell("score", 400, 0.01, DELTA), 0.01),
    "one standard error": (Cell("score", 1000, 0.01, DELTA), 0.03),
    "rows overstated by 10 %": (Cell("score", 400, 0.02, DELTA), 0.04),
}


@pytest.mark.parametrize("fault", SIZES)
def test_a_test_that_is_too_generous_fails_the_exact_size(fault):
    with FAULTS[fault](), pytest.raises(AssertionError, match="size"):
        check_size(*SIZES[fault])


@pytest.mark.parametrize(
    ("fault", "setting", "runs"),
    [
        ("first failure returned", FEW, 50),
        ("normal approximation", FEW, 200),
        ("Hoeffding-Bentkus on signed losses", MORE, 300),
    ],
)
def test_a_fault_fails_the_boundary(fault, setting, runs):
    with FAULTS[fault](), pytest.raises(AssertionError, match="at Setting"):
        check_boundary(setting, runs)


def test_not_splitting_delta_fails_where_certificates_are_to_hold_together():
    with delta_not_split(), pytest.raises(AssertionError, match="at Setting"):
        check_boundary(TOGETHER, 100)


def ladder(outcomes):
    """A chain fitted with labels: optima of right answers − λ · cost on these rows, the most right ones first."""
    joint = Joint(outcomes, COSTS)
    solutions = sorted(joint.path, key=lambda solution: -solution.n_correct)
    return [Candidate(joint._thresholds(s.cuts), s.cost / COSTS.full / len(outcomes)) for s in solutions]


def check_ladder(fold, runs=20):
    """A chain fitted with labels keeps the promise if the rows that shaped it are not those that test it."""
    rng = np.random.default_rng(81)
    accuracy = [0.7, 0.7, 0.7, 0.7, 0.72]  # whatever the uncertainty: only luck makes an early answer better
    population = make_outcomes(rng.random((20_000, 5)), rng.random((20_000, 5)) < accuracy)
    settings = Settings([("certified", 0.01)], ("certified", 0.01), tune_fraction=0.5)
    violated = []
    with replaced(Problem, "chain", property(lambda problem: ladder(getattr(problem, fold).rows))):
        for run in range(runs):
            rows = np.random.default_rng([82, run]).integers(len(population), size=400)
            problem = Problem(resample(population, rows), COSTS, settings)
            violated.append(Truth.of(population, certified(problem, 0.01).thresholds, COSTS).loss > 0.01)
    assert np.mean(violated) <= allowed(runs), f"{np.mean(violated)} violate"


@pytest.mark.parametrize(
    ("fold", "expectation"), [("tune", nullcontext()), ("certify", pytest.raises(AssertionError, match="violate"))]
)
def test_testing_on_the_rows_that_shaped_a_chain_with_labels_breaks_the_promise(fold, expectation):
    with expectation:
        check_ladder(fold)
