"""Promises kept in draws from populations with known truth; the shorter forms of experiments/certificates."""

from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest
from conftest import make_outcomes, random_outcomes

from experiments.certificates import boundary, validity
from experiments.certificates.boundary import SETTINGS, SLACK, Setting, any_wrong, draw, through_the_command_line
from experiments.certificates.harness import DELTA, Truth, allowed, outcomes_of, resample
from experiments.certificates.rivals import betting_p_value
from experiments.certificates.size import Cell, rejection_region, size
from offramp import write_logits
from offramp.calibration import calibrate
from offramp.calibration.certificates import claims
from offramp.calibration.certificates.claims import AccuracyClaim, ExitAccuracyClaim
from offramp.calibration.conformal import conformal
from offramp.calibration.folds import Certify
from offramp.calibration.problem import Problem
from offramp.calibration.settings import Settings
from offramp.policies.costs import from_parts, write_costs
from offramp.policies.policy import Policy

COSTS = from_parts("macs", [10, 20, 30, 40], [4, 3, 2, 1])
FEW, MORE = SETTINGS[0], SETTINGS[2]  # 4 and 30 changed answers
TOGETHER = Setting(500, (0.02, 0.04, 0.08), (0.03, 0.07, 0.15), simultaneous=True)


def check_boundary(setting, runs):
    """Certificates of policies exactly at max_loss are granted at most as often as delta allows, and not far less."""
    costs = from_parts("macs", boundary.SEGMENTS, boundary.HEADS)
    errors = []
    for run in range(runs):
        outcomes = outcomes_of(*draw(setting, np.random.default_rng([91, run])), boundary.SCORING)
        policies = calibrate(outcomes, costs, boundary.SCORING, setting.settings).policies
        errors.append(any_wrong(setting, [policy.thresholds for policy in policies]))
    assert DELTA - SLACK <= np.mean(errors) <= allowed(runs), f"{np.mean(errors)} at {setting}"


def check_size(cell, q):
    """The shipped p-value rejects a true hypothesis with probability at most delta: exact, no draws."""
    last = int(cell.n * q + 7 * (cell.n * q) ** 0.5) + 2
    found = size(rejection_region(cell, last, claims.p_value), cell.n, q, cell.max_loss)
    assert 0.6 * cell.delta <= found <= cell.delta, f"size {found} at {cell}, q {q}"


@pytest.mark.parametrize(("setting", "runs"), [(FEW, 300), (MORE, 100), (TOGETHER, 100)])
def test_policies_exactly_at_their_limit_are_certified_as_often_as_delta_allows(setting, runs):
    check_boundary(setting, runs)


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_two_thousand_policies_exactly_at_their_limit(setting):
    check_boundary(setting, 2000)


def test_the_size_of_the_shipped_test_is_at_most_delta_and_close_to_it():
    check_size(Cell("score", 400, 0.02, 0.1), 0.04)
    check_size(Cell("score", 400, 0.01, 0.1), 0.01)


def test_the_command_line_certifies_the_same_policies():
    for run in range(5):
        label, logits = draw(TOGETHER, np.random.default_rng([92, run]))
        outcomes = outcomes_of(label, logits, boundary.SCORING)
        costs = from_parts("macs", boundary.SEGMENTS, boundary.HEADS)
        policies = calibrate(outcomes, costs, boundary.SCORING, TOGETHER.settings).policies
        assert through_the_command_line(TOGETHER, label, logits) == [policy.thresholds for policy in policies]


def test_the_truth_of_the_boundary_model_is_what_it_says():
    label, logits = draw(replace(TOGETHER, n=400_000), np.random.default_rng(93))
    outcomes = outcomes_of(label, logits, boundary.SCORING)
    levels = np.unique(outcomes.uncertainty[:, 0])
    assert len(levels) == 5, "equal uncertainties must be equal to the last bit"
    costs = from_parts("macs", boundary.SEGMENTS, boundary.HEADS)
    for loss, level in zip(TOGETHER.losses, levels[1:], strict=False):
        assert Truth.of(outcomes, (level, inf), costs).loss == pytest.approx(loss, abs=4 * 0.39 / 400_000**0.5)
    assert not any_wrong(TOGETHER, [(levels[0], inf)] * 3)
    assert any_wrong(TOGETHER, [(None, inf), (levels[2], inf), (None, inf)])
    assert Truth.of(outcomes, (levels[0], inf), costs).loss == 0


def graded_population(rng, path, n=4000):
    """A cache of three exits and four classes: harder samples are farther from their class at every exit."""
    label = rng.integers(4, size=n)
    hard = rng.random(n)[:, None, None]
    logits = rng.normal(size=(n, 3, 4)) * (0.5 + hard)
    logits[np.arange(n), :, label] += np.array([1.5, 2.5, 3.5])
    write_logits(path, logits, label)
    write_costs(path.with_suffix(".json"), ["exit_1", "exit_2", "exit_3"], [10, 30, 60], [1, 1, 1])
    return path, path.with_suffix(".json")


def simulate(folder: Path, n, runs, plug_in):
    files = graded_population(np.random.default_rng(94), folder / "population.parquet")
    found = [validity.one_run(validity.Task(*files, n, run, plug_in)) for run in range(runs)]
    for at, loss in enumerate(validity.LOSSES):
        violated = np.mean([run.certified[at].loss > loss for run in found])
        assert violated <= allowed(runs), f"{violated} of {runs} violate {loss}"
        if plug_in:
            assert np.mean([run.plug_in[at].loss > loss for run in found]) > 0.5
    return found


def test_certificates_hold_in_draws_from_a_population_and_plug_in_choices_do_not(tmp_path, monkeypatch):
    monkeypatch.setattr(validity, "LOSSES", (0.03, 0.06))
    found = simulate(tmp_path, 700, 20, plug_in=True)
    assert np.mean([run.certified[1].mac_ratio for run in found]) < 0.9, "nothing was certified"


@pytest.mark.slow
@pytest.mark.parametrize("n", [1000, 2500])
def test_a_thousand_calibrations_keep_their_promise(tmp_path, n):
    simulate(tmp_path, n, 1000, plug_in=False)


def errors_of(claim_of, correct_of, runs=1500):
    """How often a claim is granted to (samples, exits) right answers that make it exactly false."""
    rng = np.random.default_rng(95)
    errors = 0
    for _ in range(runs):
        uncertainty, correct = correct_of(rng)
        outcomes = make_outcomes(uncertainty, correct)
        errors += claim_of(Certify(outcomes)).step(Policy((0.5, 0.5, inf))).p_value <= DELTA
    return errors / runs


def test_an_accuracy_exactly_at_the_target_is_certified_as_often_as_delta_allows():
    rate = errors_of(
        lambda certify: AccuracyClaim(certify, 0.9), lambda rng: (rng.random((500, 3)), rng.random((500, 3)) < 0.9)
    )
    assert DELTA - SLACK <= rate <= allowed(1500)


@pytest.mark.parametrize(("second", "least"), [(0.99, DELTA - SLACK), (0.8, 0.0)])
def test_an_exit_exactly_at_the_target_is_certified_as_often_as_delta_allows(second, least):
    """Without dividing delta: where one exit is at its limit, whatever the other one is."""

    def model(rng):
        return rng.random((600, 3)), rng.random((600, 3)) < np.array([0.8, second, 0.9])

    assert least <= errors_of(lambda certify: ExitAccuracyClaim(certify, 0.8), model) <= allowed(1500)


@pytest.mark.parametrize("variant", ["mean", "running_max"])
def test_conformal_keeps_its_limit_on_average_over_calibrations(variant, record_property):
    population = random_outcomes(np.random.default_rng(96), n=20_000)
    settings = Settings([("conformal", 0.04)], ("conformal", 0.04), conformal=variant, score="energy")
    losses = []
    for run in range(60):
        rows = np.random.default_rng([97, run]).integers(len(population), size=400)
        problem = Problem(resample(population, rows), COSTS, replace(settings, fold_seed=run))
        losses.append(Truth.of(population, conformal(problem, 0.04).thresholds, COSTS).loss)
    record_property("P(loss > max_loss)", float(np.mean(np.array(losses) > 0.04)))
    assert np.mean(losses) <= 0.04 + 3 * np.std(losses) / 60**0.5
    if variant == "mean":
        assert np.mean(np.array(losses) > 0.04) > DELTA, "an expectation is not a certificate"


def test_the_running_maximum_never_falls_and_is_never_cheaper(rng):
    problem = Problem(random_outcomes(rng, n=1500), COSTS, Settings([], ("", 0), score="energy"))
    maximum = replace(problem, settings=replace(problem.settings, conformal="running_max"))
    risks, ratios = [], []
    for max_loss in np.linspace(0.01, 0.3, 30):
        careful, mean = conformal(maximum, max_loss), conformal(problem, max_loss)
        risks.append(careful.expectation["risk"] if careful.feasible else 0.0)
        certify = problem.certify.rows
        ratios.append([Truth.of(certify, found.thresholds, COSTS).mac_ratio for found in (careful, mean)])
    assert (np.diff(risks) >= 0).all() and risks[-1] > 0.05
    assert all(careful >= mean for careful, mean in ratios)


def test_the_betting_rival_equals_a_literal_loop(rng):
    outcomes = random_outcomes(rng, n=300)
    thresholds, loss, wealth, best = (0.6, 0.6, 0.6, inf), 0.3, 1.0, 1.0
    taken = [next(k for k in range(4) if row[k] <= 0.6 or k == 3) for row in outcomes.uncertainty]
    z = [(1 + int(c[3]) - int(c[k])) / 2 for c, k in zip(outcomes.correct, taken, strict=True)]
    m, total, squares, variance = (1 + loss) / 2, 0.5, 0.25, 0.25
    for t, value in enumerate(z, start=1):
        stake = min((2 * np.log(1 / 0.1) / (300 * variance)) ** 0.5, 0.75 / (1 - m))
        wealth *= 1 + stake * (m - value)
        best = max(best, wealth)
        total += value
        squares += (value - total / (t + 1)) ** 2
        variance = squares / (t + 1)
    assert betting_p_value(outcomes, thresholds, loss, 0.1) == pytest.approx(1 / best, rel=1e-9)
