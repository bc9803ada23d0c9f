"""Faults planted in the shipped code are noticed: by the checks of test_validity, and by `offramp check`."""

from contextlib import ExitStack, nullcontext
from dataclasses import replace

import numpy as np
import pytest
from cases.recheck import HEAD, SEGMENT
from conftest import make_outcomes
from test_validity import FEW, MORE, TOGETHER, check_boundary, check_size

from experiments.certificates.harness import DELTA, Truth, allowed, resample
from experiments.certificates.planted import FAULTS, _first_failure, delta_not_split, normal, overstated_rows, replaced
from experiments.certificates.size import Cell
from offramp.calibration import calibrate_cache
from offramp.calibration import folds as calibration_folds
from offramp.calibration.certificates import certificate as certificates
from offramp.calibration.certificates import claims
from offramp.calibration.certificates.chains import equal_change
from offramp.calibration.certificates.claims import LossClaim
from offramp.calibration.certificates.sequence import TestSequence
from offramp.calibration.certified import certified
from offramp.calibration.folds import Tune
from offramp.calibration.joint_search import Joint
from offramp.calibration.problem import Problem
from offramp.calibration.routes import Routes
from offramp.calibration.settings import RouteSettings, Settings
from offramp.check import recheck
from offramp.policies.costs import from_parts
from offramp.policies.file import write_policies
from offramp.policies.policy import Policy
from offramp.scores import fitting
from offramp.statistics.exact_tests import accuracy_p_value

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
    return [Policy(joint._thresholds(solution.cuts)) for solution in solutions]


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


def _every_fifth(sample, *_):
    return np.asarray(sample) % 5 == 0


def _every_row(sample, *_):
    return np.ones(len(sample), np.bool_)


def _fewer_damaged(claim, candidate, step=LossClaim.step):
    found = step(claim, candidate)
    return replace(found, counts=found.counts | {"damaged": max(0, found.counts["damaged"] - 1)})


def _never_stopping(steps, level, test=certificates.in_sequence):
    """Return the last success of all steps, whatever failed before."""
    tested = list(steps)
    passed = [number for number, step in enumerate(tested, start=1) if step.p_value <= level]
    return replace(test(tested, level), steps=tested, rejected=passed[-1])


def _too_early(steps, level, test=certificates.in_sequence):
    found = test(steps, level)
    return replace(found, rejected=found.rejected - 1)


def _peeking(problem):
    return equal_change(Tune(problem.outcomes), problem.costs, problem.settings.score)


def _peeking_routes(problem):
    return Routes(problem.outcomes, problem.certify.rows, problem.costs, problem.settings.predictive)


PLAIN = Settings([("certified", 0.03), ("certified", 0.06)], ("certified", 0.03))
FITTED = replace(PLAIN, score="change", temperature="per_exit")
ROUTES = Settings([("certified_every_exit", 0.05)], ("certified_every_exit", 0.05), predictive=RouteSettings(cuts=25))
EXITS = Settings([("certified_per_exit", 0.8)], ("certified_per_exit", 0.8))
SHIPPED = {  # settings, what is replaced and by what, the reason for which the check refutes
    "folds dealt otherwise": (PLAIN, [(calibration_folds, "in_tune", _every_fifth)], "the tune fold has"),
    "another digest": (PLAIN, [(certificates, "digest", lambda _: "0" * 64)], "digest"),
    "one damaged row fewer": (PLAIN, [(LossClaim, "step", _fewer_damaged)], "the certify rows give damaged"),
    "a normal p-value": (PLAIN, [(claims, "p_value", normal)], "summed again"),
    "more rows than there are": (PLAIN, [(claims, "p_value", overstated_rows)], "summed again"),
    "a binomial of one row more": (
        EXITS,
        [(claims, "accuracy_p_value", lambda correct, n, target: accuracy_p_value(correct + 1, n + 1, target))],
        "summed again",
    ),
    "no stopping": (PLAIN, [(certificates, "in_sequence", _never_stopping)], "steps were tested although"),
    "the first failure chosen": (
        PLAIN,
        [(TestSequence, "last_rejected", property(_first_failure))],
        "the one returned, has",
    ),
    "an earlier step chosen": (PLAIN, [(certificates, "in_sequence", _too_early)], "is the first failure"),
    "delta not divided": (
        replace(PLAIN, simultaneous=True),
        [(Problem, "level", property(lambda problem: problem.settings.delta))],
        "its level is 0.1",
    ),
    "a chain of all rows": (PLAIN, [(Problem, "chain", property(_peeking))], "derived from the tune fold"),
    "a route of all rows": (ROUTES, [(Problem, "routes", property(_peeking_routes))], "derived from the tune fold"),
    "a fit on all rows": (FITTED, [(fitting, "in_tune", _every_row)], "the tune fold gives"),
}


@pytest.mark.parametrize("fault", SHIPPED)
def test_the_check_refutes_what_faulty_code_made_while_that_is_still_in_place(recheck_folder, tmp_path, fault):
    settings, faults, reason = SHIPPED[fault]
    costs = from_parts("macs", SEGMENT, HEAD)
    for planted in ([], faults):
        with ExitStack() as stack:
            for owner, name, value in planted:
                stack.enter_context(replaced(owner, name, value))
            write_policies(tmp_path / "p.json", calibrate_cache(recheck_folder / "val.parquet", costs, settings))
            report = recheck(tmp_path / "p.json", recheck_folder / "val.parquet", recheck_folder / "costs.json")
        assert report.passed == (not planted), report.text
    assert reason in "; ".join(text for verdict in report.verdicts for text in verdict.refuted)
