import math

import numpy as np
import pytest

from offramp.scores.registry import SCORES
from offramp.scores.scoring import Scoring
from offramp.scores.softmax import energy, entropy, least_confidence, margin

FORMULAS = sorted(name for name, score in SCORES.items() if score.formula)


def test_entropy_equals_the_definition(rng):
    logits = rng.normal(scale=3, size=(200, 5))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert entropy(logits) == pytest.approx(-(p * np.log(p)).sum(1), rel=1e-12)


def test_entropy_of_a_uniform_answer_is_ln_classes_and_never_more():
    for n_classes in range(2, 200):
        value = entropy(np.full((1, n_classes), 1.7))[0]
        assert value <= math.log(n_classes)
        assert value == pytest.approx(math.log(n_classes), rel=1e-14)


def test_very_confident_answers_keep_distinct_entropies():
    gaps = np.array([40.0, 60.0, 100.0, 300.0, 600.0])
    values = entropy(np.stack([gaps, np.zeros(5)], axis=1))
    assert (np.diff(values) < 0).all()
    assert (values > 0).all()


@pytest.fixture
def probabilities(rng):
    logits = rng.normal(scale=3, size=(200, 5))
    return logits, np.sort(np.exp(logits) / np.exp(logits).sum(1, keepdims=True), axis=1)[:, ::-1]


def test_least_confidence_margin_and_energy_equal_their_definitions(probabilities):
    logits, p = probabilities
    assert least_confidence(logits) == pytest.approx(np.log(1 - p[:, 0]) - np.log(p[:, 0]), rel=1e-9)
    assert margin(logits) == pytest.approx(np.log(p[:, 1]) - np.log(p[:, 0]), rel=1e-9)
    assert energy(logits) == pytest.approx(-np.log(np.exp(logits).sum(1)), rel=1e-12)


@pytest.mark.parametrize("score", ["entropy", "least_confidence", "margin"])
def test_very_confident_answers_stay_apart_and_in_order(score):
    gaps = np.array([0.0, 1e-9, 30.0, 40.0, 60.0, 100.0, 300.0, 600.0])
    values = SCORES[score].formula(np.stack([gaps, np.zeros(8), np.full(8, -1.0)], axis=1))
    assert np.isfinite(values).all()
    assert (np.diff(values) < 0).all()


@pytest.mark.parametrize("score", FORMULAS)
def test_scores_are_finite_for_huge_and_equal_logits(score):
    logits = np.array([[1e4, -1e4, 0.0], [5.0, 5.0, 5.0], [1e4, 1e4, -1e4], [0.0, 0.0, -1e4]])
    assert np.isfinite(SCORES[score].formula(logits)).all()


@pytest.mark.parametrize("score", ["entropy", "least_confidence", "margin"])
def test_a_common_shift_of_all_logits_changes_nothing(rng, score):
    logits = rng.normal(size=(50, 4))
    assert SCORES[score].formula(logits + 7) == pytest.approx(SCORES[score].formula(logits), rel=1e-9)


def test_for_two_classes_least_confidence_is_the_margin(rng):
    logits = rng.normal(size=(50, 2))
    assert least_confidence(logits) == pytest.approx(margin(logits), abs=1e-12)


def test_temperature_divides_the_logits_of_its_exit(rng):
    logits = rng.normal(size=(10, 2, 3))
    values = Scoring("entropy", {"exit_1": 1.0, "exit_2": 2.0})(logits)
    assert values[:, 1] == pytest.approx(entropy(logits[:, 1] / 2))
    assert values[:, 0] == pytest.approx(entropy(logits[:, 0]))


def test_an_unknown_score_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="known: activation, change, energy, entropy, least_confidence, margin"):
        Scoring.plain("surprise", ["exit_1"])(np.zeros((1, 1, 2)))
