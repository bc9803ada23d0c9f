"""Chains of candidates: from safe to cheap, without labels, whatever the order of the rows."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest
from conftest import make_outcomes, random_logits
from scipy.special import expit

from experiments.certificates.harness import exit_names, outcomes_of
from offramp.cache.reading import UNKNOWN
from offramp.calibration.certificates.chains import FAMILIES, STEP, equal_change
from offramp.calibration.certified import certified
from offramp.calibration.folds import Tune
from offramp.calibration.problem import Problem
from offramp.calibration.settings import Settings
from offramp.policies.costs import from_parts
from offramp.policies.replay import replay
from offramp.scores.change import fit_change
from offramp.scores.scoring import Scoring
from offramp.statistics.logistic import RIDGE, fit_logistic

COSTS = from_parts("macs", [10, 30, 60], [1, 1, 1])
SCORES = ["entropy", "least_confidence", "margin", "energy", "change"]
EVERY = pytest.mark.parametrize("family", sorted(FAMILIES))


def outcomes(rng, score="entropy", n=500):
    logits, label = random_logits(rng, n)
    scoring = Scoring.plain(score, exit_names(logits.shape[1]))
    if score == "change":
        scoring = replace(scoring, fitted=fit_change(logits.astype(np.float64)))
    return outcomes_of(label, logits, scoring)


def chain(family, rows, costs=COSTS, score="entropy"):
    return FAMILIES[family](Tune(rows), costs, score)


@EVERY
@pytest.mark.parametrize("score", SCORES)
def test_every_candidate_costs_a_step_less_on_tune_than_the_one_before(rng, family, score):
    rows = outcomes(rng, score)
    found = chain(family, rows, score=score)
    ratios = [1.0, *(replay(rows, candidate, COSTS).cost_ratio for candidate in found)]
    assert len(found) > 10 and (np.diff(ratios) <= -STEP).all()


@pytest.mark.parametrize("score", SCORES)
def test_thresholds_of_equal_change_never_fall_along_the_chain(rng, score):
    found = equal_change(Tune(outcomes(rng, score)), COSTS, score)
    table = np.array([[-1e9 if t is None else min(t, 1e9) for t in candidate.thresholds] for candidate in found])
    assert (np.diff(table, axis=0) >= 0).all()


@EVERY
def test_labels_shape_no_chain(rng, family):
    rows = outcomes(rng)
    unknown = replace(rows, label=np.full(len(rows), UNKNOWN), correct=np.zeros_like(rows.correct))
    permuted = replace(rows, label=rng.permutation(rows.label), correct=rng.permutation(rows.correct))
    assert chain(family, rows) == chain(family, unknown) == chain(family, permuted)


@EVERY
def test_the_order_of_the_rows_shapes_no_chain(rng, family):
    rows = outcomes(rng)
    assert chain(family, rows) == chain(family, rows.take(rng.permutation(len(rows))))


@EVERY
def test_equal_uncertainties_leave_together(rng, family):
    rows = outcomes(rng)
    tied = replace(rows, uncertainty=rows.uncertainty.round(1))
    found = chain(family, tied)
    assert len(found) > 5
    for candidate in found:
        taken = replay(tied, candidate, COSTS).taken
        for k, threshold in enumerate(candidate.thresholds[:-1]):
            here = tied.uncertainty[taken >= k, k]
            assert threshold is None or not np.isclose(here, threshold, atol=0.04, rtol=0).any()


@EVERY
@pytest.mark.parametrize("agree", [True, False])
def test_a_chain_ends_when_all_exits_agree_or_none_does(rng, family, agree):
    rows = outcomes(rng)
    agrees = np.column_stack([np.full((len(rows), 2), agree), np.ones(len(rows), bool)])
    found = chain(family, replace(rows, agrees=agrees))
    assert found and all(np.isfinite([t for t in c.thresholds[:-1] if t not in (None, inf)]).all() for c in found)


@EVERY
def test_no_tune_rows_and_no_side_exit_give_no_chain(rng, family):
    rows = outcomes(rng)
    assert chain(family, rows.take(np.zeros(len(rows), bool))) == []
    one = make_outcomes([[0.1], [0.2]], [[1], [0]])
    assert chain(family, one, from_parts("macs", [1], [1])) == []


@EVERY
def test_a_single_tune_row_makes_a_chain(rng, family):
    assert chain(family, outcomes(rng).take(np.arange(500) < 1))


def test_an_empty_fold_is_a_result_that_says_so(rng):
    rows = outcomes(rng).take(np.arange(500) < 1)
    settings = Settings([("certified", 0.01)], ("certified", 0.01))
    assert "tune fold is empty" in certified(Problem(rows, COSTS, replace(settings, tune_fraction=1e-9)), 0.01).reason
    nobody = certified(Problem(rows, COSTS, replace(settings, tune_fraction=1 - 1e-9)), 0.01)
    assert not nobody.feasible and "certify fold is empty" in nobody.reason and nobody.nearest is None


def test_equal_change_lets_exits_go_up_to_the_same_estimated_chance_of_a_change(rng):
    """Fitted anew with the true model: at every exit the estimate at the threshold is the same level."""
    n = 4000
    uncertainty = np.column_stack([rng.normal(size=(n, 2)), np.zeros(n)])
    slopes, offsets = np.array([2.0, 1.0]), np.array([0.5, -1.0])
    changes = rng.random((n, 2)) < expit(uncertainty[:, :2] * slopes + offsets)
    agrees = np.column_stack([~changes, np.ones(n, bool)])
    rows = replace(make_outcomes(uncertainty, np.ones((n, 3))), agrees=agrees)
    for candidate in equal_change(Tune(rows), COSTS, "energy"):  # one predictor, the uncertainty itself
        first, second = candidate.thresholds[:2]
        if first is not None and second is not None and max(abs(first), abs(second)) < 1.5:
            assert first * slopes[0] + offsets[0] == pytest.approx(second * slopes[1] + offsets[1], abs=0.25)


@pytest.mark.parametrize("outcome", ["mixed", "never", "always", "separable"])
def test_the_logistic_fit_has_gradient_zero(rng, outcome):
    predictors = rng.normal(size=(300, 3))
    happened = {
        "mixed": rng.random(300) < expit(predictors @ [1.0, -2.0, 0.0] + 0.3),
        "never": np.zeros(300, bool),
        "always": np.ones(300, bool),
        "separable": predictors[:, 0] > 0,
    }[outcome]
    fit = fit_logistic(predictors, happened)
    residual = expit(fit.log_odds(predictors)) - happened
    standard = (predictors - predictors.mean(axis=0)) / predictors.std(axis=0)
    assert standard.T @ residual + RIDGE * fit.weights == pytest.approx(np.zeros(3), abs=1e-8)
    assert residual.sum() + RIDGE * fit.intercept == pytest.approx(0, abs=1e-8)
