import math

import numpy as np
import pytest

from offramp.uncertainty import entropy, uncertainty


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


def test_temperature_divides_the_logits_of_its_exit(rng):
    logits = rng.normal(size=(10, 2, 3))
    values = uncertainty(logits, "entropy", np.array([1.0, 2.0]))
    assert values[:, 1] == pytest.approx(entropy(logits[:, 1] / 2))
    assert values[:, 0] == pytest.approx(entropy(logits[:, 0]))


def test_an_unknown_score_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="known: entropy"):
        uncertainty(np.zeros((1, 1, 2)), "surprise", np.ones(1))
