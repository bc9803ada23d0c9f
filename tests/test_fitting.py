import numpy as np
import pytest
from conftest import random_logits
from scipy.special import log_softmax

import offramp
from offramp.cache.folds import in_tune
from offramp.cache.reading import UNKNOWN, open_cache
from offramp.cache.writing import CacheWriter
from offramp.policies.costs import Costs, from_parts
from offramp.policies.outcomes import read_outcomes
from offramp.policies.replay import costs_under
from offramp.project.errors import InputError
from offramp.scores.change import Change, change_features, fit_change
from offramp.scores.fitting import COLDEST, HOTTEST, fit_scoring, fit_temperature, tune_logits
from offramp.scores.scoring import Scoring


def negative_log_likelihood(logits, label, temperature):
    return -log_softmax(logits / temperature, axis=1)[np.arange(len(label)), label].mean()


def test_the_fitted_temperature_has_the_least_negative_log_likelihood(rng):
    logits, label = random_logits(rng, n=400)
    fitted = fit_temperature(logits[:, 1].astype(float), label)
    best = negative_log_likelihood(logits[:, 1], label, fitted)
    for other in fitted * np.array([0.5, 0.9, 0.999, 1.001, 1.1, 2]):
        assert negative_log_likelihood(logits[:, 1], label, other) > best


def test_the_temperature_of_overconfident_logits_is_found(rng):
    logits = rng.normal(size=(20_000, 5))
    p = np.exp(log_softmax(logits, axis=1))
    label = (p.cumsum(axis=1) > rng.random((20_000, 1))).argmax(axis=1)
    assert fit_temperature(3 * logits, label) == pytest.approx(3, rel=0.05)


def test_temperatures_stay_finite_where_every_or_no_answer_is_right():
    logits = np.array([[4.0, 0.0], [0.0, 3.0]])
    assert fit_temperature(logits, np.array([0, 1])) == COLDEST
    assert fit_temperature(logits, np.array([1, 0])) == HOTTEST
    assert fit_temperature(np.empty((0, 2)), np.empty(0, int)) == 1.0


@pytest.fixture
def cache(tmp_path, rng):
    logits, labels = random_logits(rng, n=800)
    offramp.write_logits(tmp_path / "val.parquet", logits, labels)
    return open_cache(tmp_path / "val.parquet"), logits.astype(float), labels


def test_fits_see_the_tune_fold_and_nothing_else(cache, tmp_path):
    opened, logits, labels = cache
    tune = in_tune(np.arange(800), 0.2, 17)
    seen_labels, seen = tune_logits(opened, 0.2, 17)
    assert (seen == logits[tune]).all()
    assert (seen_labels == labels[tune]).all()
    other = logits.copy()
    other[~tune] = 0
    offramp.write_logits(tmp_path / "other.parquet", other.astype(np.float32), (labels + ~tune) % 4)
    for score, temperature in [("entropy", "per_exit"), ("change", "none"), ("change", "per_exit")]:
        fitted = fit_scoring(opened, score, temperature, 0.2, 17)
        assert fitted == fit_scoring(open_cache(tmp_path / "other.parquet"), score, temperature, 0.2, 17)


def test_the_score_change_needs_no_labels_and_temperatures_use_the_known_ones(cache, tmp_path):
    opened, logits, _ = cache
    with CacheWriter(tmp_path / "x.parquet", 3, 4, "float32", {}) as writer:
        writer.write(np.arange(800), np.full(800, UNKNOWN), logits.astype(np.float32))
    unlabelled = open_cache(tmp_path / "x.parquet")
    assert fit_scoring(unlabelled, "change", "none", 0.2, 17) == fit_scoring(opened, "change", "none", 0.2, 17)
    with pytest.raises(InputError, match="no labelled row in the tune fold"):
        fit_scoring(unlabelled, "entropy", "per_exit", 0.2, 17)


def test_an_empty_tune_fold_is_said(cache):
    with pytest.raises(InputError, match="no row in the tune fold"):
        fit_scoring(cache[0], "change", "none", 1e-9, 17)


def test_change_tells_agreeing_from_changing_answers_better_than_chance(cache):
    _, logits, _ = cache
    change = fit_change(logits[:400])
    values = change.of_cache(logits[400:])
    differs = logits[400:].argmax(2) != logits[400:].argmax(2)[:, -1:]
    for k in range(2):
        assert values[differs[:, k], k].mean() > values[~differs[:, k], k].mean()
    assert (values[:, -1] == 0).all()


def test_change_at_an_exit_depends_on_earlier_exits_only(cache):
    _, logits, _ = cache
    change = fit_change(logits)
    later = logits.copy()
    later[:, 2] = 9 * later[:, 1]
    assert (change.of_cache(later)[:, :2] == change.of_cache(logits)[:, :2]).all()


def test_predictors_of_one_sample_by_hand():
    logits = np.log(np.array([[[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]]))
    first, second = change_features(logits)
    entropy = -sum(p * np.log(p) for p in (0.5, 0.3, 0.2))
    assert first[0, :4] == pytest.approx(np.log([0.7, 0.2, 0.1, 0.3]))
    assert second[0] == pytest.approx([*np.log([0.5, 0.3, 0.2, 0.5]), entropy, np.log(0.6), 1, np.log(0.7)])


def test_change_survives_its_file_and_refuses_what_does_not_fit(cache, tmp_path):
    opened, logits, _ = cache
    change = fit_change(logits)
    assert Change.from_json(change.to_json(["exit_1", "exit_2", "exit_3"]), ["exit_1", "exit_2", "exit_3"]) == change
    offramp.write_logits(tmp_path / "five.parquet", np.zeros((4, 3, 2), np.float32), np.array([0, 1, 0, 1]))
    with pytest.raises(InputError, match="fitted for another number"):
        read_outcomes(open_cache(tmp_path / "five.parquet"), Scoring("change", dict.fromkeys(opened.exits, 1), change))


def test_under_score_change_a_head_runs_wherever_a_later_one_is_enabled():
    costs = costs_under(Scoring("change", {}, Change((), ())), from_parts("macs", [10, 20, 30, 40], [4, 3, 2, 1]))
    assert costs.at_exits([False, True, False, True]).tolist() == [14, 37, 67, 108]
    assert costs.at_exits([False, False, False, True])[-1] == costs.full
    only_sums = costs_under(Scoring("change", {}, Change((), ())), Costs("macs", np.array([5.0, 9.0]), 8.0))
    assert only_sums.at_exits([True, True]).tolist() == [5, 9]
