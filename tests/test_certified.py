import math
from dataclasses import replace

import numpy as np
import pytest
from conftest import make_outcomes, random_logits, read_entropy

import offramp
from offramp.cache.folds import digest
from offramp.calibration import calibrate, make_problem
from offramp.calibration.certified_per_exit import declare
from offramp.calibration.folds import deal
from offramp.calibration.planning import fewest_rows
from offramp.calibration.settings import Settings
from offramp.policies.certificate import CertificateFold
from offramp.policies.costs import from_parts
from offramp.policies.methods import METHODS
from offramp.policies.policy import full_network
from offramp.policies.replay import replay
from offramp.scores.scoring import Scoring
from offramp.statistics.exact_tests import accuracy_lower_bound

COSTS = from_parts("macs", [5, 5, 5], [1, 1, 1])


@pytest.fixture
def outcomes(tmp_path, rng):
    offramp.write_logits(tmp_path / "val.parquet", *random_logits(rng, n=2000))
    return read_entropy(tmp_path / "val.parquet")


def chosen(outcomes, method, target, **settings):
    wanted = Settings([(method, target)], (method, target), **settings)
    return calibrate(outcomes, COSTS, Scoring.plain("entropy", outcomes.exits), wanted).selected


@pytest.mark.parametrize(("method", "target"), [("certified", 0.04), ("certified_overall", 0.85)])
def test_the_returned_policy_is_the_last_rejected_step_and_the_next_one_failed(outcomes, method, target):
    policy = chosen(outcomes, method, target)
    certificate = policy.certificate
    steps, returned = certificate.steps, certificate.returned
    assert steps[returned - 1].thresholds == policy.thresholds
    assert all(step.p_value <= 0.1 for step in steps[:returned])
    assert len(steps) == returned + 1 or len(steps) == certificate.declared
    assert all(step.p_value > 0.1 for step in steps[returned:])


def test_a_certificate_names_the_folds_that_made_it(outcomes):
    certificate = chosen(outcomes, "certified", 0.04, fold_seed=3, tune_fraction=0.3).certificate
    tune, certify = deal(outcomes, 0.3, 3)
    folds = certificate.folds
    assert (folds.fold_seed, folds.tune_fraction) == (3, 0.3)
    assert folds.tune == CertificateFold(rows=len(tune.rows), sha256=digest(tune.rows.sample))
    assert folds.certify == CertificateFold(rows=len(certify.rows), sha256=digest(certify.rows.sample))
    assert certificate.n == len(certify.rows)


def test_the_validation_figure_of_a_certified_policy_is_the_certify_fold(outcomes):
    policy = chosen(outcomes, "certified", 0.04)
    rows = deal(outcomes, 0.2, 17)[1].rows
    result = replay(rows, policy, COSTS)
    assert policy.validation["accuracy"] == result.accuracy
    assert policy.validation["loss"] == pytest.approx(rows.correct[:, -1].mean() - result.accuracy)


def test_the_order_of_rows_changes_no_certificate(outcomes, rng):
    shuffled = outcomes.take(rng.permutation(len(outcomes)))
    assert chosen(shuffled, "certified", 0.04) == chosen(outcomes, "certified", 0.04)


def test_a_looser_promise_is_never_dearer(outcomes):
    costs = [chosen(outcomes, "certified", loss).validation["mac_ratio"] for loss in (0.02, 0.04, 0.08, 0.2)]
    assert costs == sorted(costs, reverse=True)


def test_simultaneous_splits_delta_over_every_certificate_of_the_file(outcomes):
    wanted = [("certified", 0.04), ("certified", 0.08), ("certified_overall", 0.8), ("shared", 0.8)]
    scoring = Scoring.plain("entropy", outcomes.exits)
    alone = calibrate(outcomes, COSTS, scoring, Settings(wanted, wanted[0]))
    together = calibrate(outcomes, COSTS, scoring, Settings(wanted, wanted[0], simultaneous=True))
    assert alone.selected.certificate.looks == together.selected.certificate.looks == 3
    assert alone.selected.certificate.level == 0.1
    assert together.selected.certificate.level == pytest.approx(0.1 / 3)
    assert "hold together" in together.selected.certificate.several
    assert together.selected.validation["mac_ratio"] >= alone.selected.validation["mac_ratio"]


def test_too_few_rows_are_a_result_and_say_how_many_would_do(outcomes):
    few = outcomes.take(np.arange(120))
    few.correct[:, -1] = True  # nothing to rescue, so that no luck can make up for few rows
    policy = chosen(few, "certified", 0.01)
    assert not policy.feasible
    assert policy.thresholds == full_network(3)
    assert policy.certificate is None
    assert policy.labels_needed > fewest_rows(0.01, 0.1)
    assert policy.nearest > 0.01
    assert chosen(few, "certified", policy.nearest).feasible
    assert not chosen(few, "certified", policy.nearest - 3e-4).feasible


def test_an_absolute_target_above_the_full_network_is_infeasible_with_its_lower_bound(outcomes):
    policy = chosen(outcomes, "certified_overall", 0.999)
    rows = deal(outcomes, 0.2, 17)[1].rows
    assert not policy.feasible
    assert policy.thresholds == full_network(3)
    assert policy.nearest == accuracy_lower_bound(int(rows.correct[:, -1].sum()), len(rows), 0.1)
    assert chosen(outcomes, "certified_overall", policy.nearest - 1e-9).feasible


def test_certified_per_exit_declares_its_chain_on_the_tune_fold_alone(outcomes):
    settings = Settings([("certified_per_exit", 0.8)], ("certified_per_exit", 0.8))
    scoring = Scoring.plain("entropy", outcomes.exits)
    tune = deal(outcomes, 0.2, 17)[0].rows
    changed = outcomes.take(np.arange(len(outcomes)))
    changed.correct[~np.isin(outcomes.sample, tune.sample)] ^= True
    problems = [make_problem(rows, COSTS, scoring, settings) for rows in (outcomes, changed)]
    chains = [declare(problem.tune, len(problem.certify.rows), 0.8, COSTS, "entropy") for problem in problems]
    assert chains[0] == chains[1]
    assert chains[0]


def test_certified_per_exit_proves_every_enabled_exit_by_itself(outcomes):
    policy = chosen(outcomes, "certified_per_exit", 0.8)
    counts = policy.certificate.steps[policy.certificate.returned - 1].counts
    for number, threshold in enumerate(policy.thresholds[:-1], start=1):
        if threshold is not None:
            samples, correct = counts[f"samples_exit_{number}"], counts[f"correct_exit_{number}"]
            assert accuracy_lower_bound(correct, samples, 0.1) >= 0.8
    assert not chosen(outcomes, "certified_per_exit", 1.0).feasible


def test_the_theorem_of_conformal_costs_more_than_the_empirical_variant(outcomes):
    mean = chosen(outcomes, "conformal", 0.05)
    theorem = chosen(outcomes, "conformal", 0.05, conformal="running_max")
    assert "a theorem" in theorem.expectation["status"]
    assert "no theorem" in mean.expectation["status"]
    assert "probability" not in mean.expectation["statement"]
    assert mean.validation["mac_ratio"] <= theorem.validation["mac_ratio"]
    for policy in (mean, theorem):
        assert policy.certificate is None
        assert policy.expectation["risk"] <= policy.expectation["bound"] < 0.05


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize(("n", "n_exits"), [(1, 3), (5, 1), (40, 2)])
@pytest.mark.parametrize("correct", [0, 1])
def test_every_method_survives_one_sample_one_exit_and_answers_all_alike(method, n, n_exits, correct, rng):
    outcomes = make_outcomes(rng.random((n, n_exits)), np.full((n, n_exits), bool(correct)))
    seen = rng.random((n, n_exits - 1, 13))  # what routes that forecast look at
    outcomes = replace(outcomes, growth=seen[:, :, :8], predictors=seen[:, :, 8:])
    costs = from_parts("macs", [5] * n_exits, [1] * n_exits)
    settings = Settings([(method, 0.5)], (method, 0.5))
    policy = calibrate(outcomes, costs, Scoring.plain("entropy", outcomes.exits), settings).selected
    assert policy.thresholds[-1] == math.inf
    assert policy.feasible or policy.reason
