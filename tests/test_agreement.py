"""Live against replay: every difference is counted once, and said how close a call it was."""

import math

import numpy as np
import pytest

from offramp.policies.policy import Policy, exits_taken
from offramp.runtime.benchmark.agreement import compare_live
from offramp.scores.scoring import Scoring

EXITS = ["exit_1", "exit_2", "exit_3"]
SCORING = Scoring.plain("margin", EXITS)  # margin of two classes: minus the distance of the two logits
THRESHOLDS = (-2.0, -1.0, math.inf)


def logits_of(*margins):
    """Logits (samples, exits, 2) whose answer is class 0 and whose margins are these."""
    return np.array([[[margin, 0.0] for margin in row] for row in margins], np.float32)


def replayed(logits, thresholds, scoring):
    taken = exits_taken(scoring(logits), thresholds)
    return logits[np.arange(len(logits)), taken].argmax(axis=1), taken


def test_answers_of_the_replay_itself_agree():
    logits = logits_of((3, 0, 0), (1, 2, 0), (1, 0.5, 4))
    label, taken = replayed(logits, THRESHOLDS, SCORING)
    assert taken.tolist() == [0, 1, 2]
    found = compare_live(label, taken, logits, Policy(THRESHOLDS, scoring=SCORING))
    assert (found.samples, found.moved, found.renamed, found.mismatches) == (3, 0, 0, 0)
    assert found.largest_gap is None
    assert found.largest_logit_gap is None


@pytest.mark.parametrize(("taken", "gap"), [(1, 0.25), (2, 0.25), (0, None)])
def test_the_first_of_two_exits_decides_however_far_the_other_is(taken, gap):
    logits = logits_of((2.25, 9, 9))  # replay: leaves at exit_1, by a quarter
    found = compare_live(np.array([0]), np.array([taken]), logits, Policy(THRESHOLDS, scoring=SCORING))
    assert found.moved == int(gap is not None)
    assert found.largest_gap == gap


def test_a_sample_that_left_too_early_is_as_far_off_as_its_cached_uncertainty():
    logits = logits_of((1.5, 1.25, 0), (1.75, 2, 0))  # replay: both leave at exit_2
    found = compare_live(np.array([0, 0]), np.array([0, 0]), logits, Policy(THRESHOLDS, scoring=SCORING))
    assert found.moved == 2
    assert found.largest_gap == 0.5


def test_another_label_at_the_same_exit_counts_and_has_no_threshold_to_be_near():
    found = compare_live(np.array([1]), np.array([0]), logits_of((2.5, 0, 0)), Policy(THRESHOLDS, scoring=SCORING))
    assert (found.moved, found.renamed, found.mismatches) == (0, 1, 1)
    assert found.largest_gap is None
    assert found.largest_logit_gap == 2.5


def test_a_sample_that_moved_and_changed_its_label_counts_once():
    found = compare_live(np.array([1]), np.array([1]), logits_of((2.5, 0, 0)), Policy(THRESHOLDS, scoring=SCORING))
    assert (found.moved, found.renamed) == (1, 0)


@pytest.mark.parametrize("threshold", [None, math.inf])
def test_a_difference_that_no_threshold_explains_is_an_error_not_a_number(threshold):
    thresholds = (threshold, -1.0, math.inf)
    taken = np.array([0 if threshold is None else 1])
    with pytest.raises(ValueError, match=r"exit_1, whose threshold .* leaves no choice"):
        compare_live(np.array([0]), taken, logits_of((5, 5, 0)), Policy(thresholds, scoring=SCORING))


@pytest.mark.parametrize("score", ["entropy", "margin"])
@pytest.mark.parametrize("noise", [1e-6, 1e-2, 0.5])
def test_noise_on_the_logits_is_counted_as_a_loop_over_samples_counts_it(rng, score, noise):
    n, scoring = 500, Scoring.plain(score, EXITS)
    cached = rng.normal(size=(n, 3, 4)).astype(np.float32) * 2
    live = cached + rng.normal(size=cached.shape).astype(np.float32) * noise
    uncertainty = scoring(cached)
    thresholds = (float(np.quantile(uncertainty[:, 0], 0.4)), float(np.quantile(uncertainty[:, 1], 0.5)), math.inf)
    label, taken = replayed(live, thresholds, scoring)
    found = compare_live(label, taken, cached, Policy(thresholds, scoring=scoring))

    moved, renamed, gaps = 0, 0, []
    for i in range(n):
        expected = next(k for k in range(3) if k == 2 or uncertainty[i, k] <= thresholds[k])
        if expected != taken[i]:
            moved += 1
            k = min(expected, taken[i])
            gaps.append(abs(uncertainty[i, k] - thresholds[k]))
        elif cached[i, expected].argmax() != label[i]:
            renamed += 1
    assert (found.moved, found.renamed) == (moved, renamed)
    assert found.largest_gap == (max(gaps) if gaps else None)
    assert (found.mismatches > 0) == (noise > 1e-6), "noise this large must show, noise this small must not"
