"""The walk, what claims read and count, folds, labels that are not needed; defects of published code, not repeated."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest
from conftest import SHARED, make_outcomes, random_logits, random_outcomes

from experiments.certificates.harness import exit_names, outcomes_of
from offramp.cache.folds import digest
from offramp.cache.reading import UNKNOWN, open_cache
from offramp.calibration import calibrate
from offramp.calibration.certificates.claims import AccuracyClaim, ExitAccuracyClaim, LossClaim
from offramp.calibration.certificates.sequence import Step, in_sequence
from offramp.calibration.folds import Certify, deal
from offramp.calibration.settings import Settings
from offramp.policies.costs import from_parts
from offramp.policies.outcomes import read_outcomes
from offramp.policies.policy import Policy, full_network
from offramp.policies.replay import replay
from offramp.scores.scoring import Scoring
from offramp.statistics.exact_tests import GAMMA, accuracy_p_value, p_value

CLASS_NETWORK = SHARED / "branchynet-cifar10-test-logits.parquet"
COSTS = from_parts("macs", [10, 20, 30, 40], [4, 3, 2, 1])


def test_a_walk_returns_the_last_rejected_candidate_and_not_the_first_failure():
    """Risks 0, .02 and .30 at a limit of .1 on 500 rows: published code certifies the policy with risk .30."""
    steps = [
        Step(Policy((0.1 * k, inf)), {}, p_value(500, round(500 * r), 0, 0.1)) for k, r in enumerate((0.0, 0.02, 0.30))
    ]
    tested = in_sequence(steps, 0.1)
    assert tested.rejected == 2 and tested.last_rejected is steps[1].policy
    assert in_sequence(steps[2:], 0.1).last_rejected is None
    assert in_sequence([], 0.1).last_rejected is None
    assert in_sequence(steps[:2], 0.1).last_rejected is steps[1].policy, (
        "a chain without a failure ends with its last candidate"
    )


def test_a_walk_tests_nothing_after_its_first_failure():
    def steps():
        yield Step(Policy(()), {}, 0.2)
        raise AssertionError("looked at rows it had no right to")

    assert in_sequence(steps(), 0.1).rejected == 0


@pytest.mark.skipif(not CLASS_NETWORK.exists(), reason="the given network's logits are not here")
def test_a_sample_leaves_when_entropy_is_low_on_the_given_network():
    cache = open_cache(CLASS_NETWORK)
    given = read_outcomes(cache, Scoring.plain("entropy", cache.exits))
    costs = from_parts("macs", [1] * 6, [1] * 6)
    assert replay(given, Policy((0.6,) * 5 + (inf,)), costs).accuracy == pytest.approx(0.735, abs=0.0015)
    inverted = replace(given, uncertainty=-given.uncertainty)  # leave when entropy is high
    assert replay(inverted, Policy((-0.6,) * 5 + (inf,)), costs).accuracy == pytest.approx(0.598, abs=0.0015)


def test_samples_that_left_are_gone_and_accuracy_weighs_by_where_they_left():
    outcomes = make_outcomes(
        [[0.1, 0.1, 0], [0.2, 0.9, 0], [0.9, 0.2, 0], [0.9, 0.9, 0]], [[1, 0, 0]] * 2 + [[0, 1, 0]] * 2
    )
    result = replay(outcomes, Policy((0.5, 0.5, inf)), from_parts("macs", [1, 1, 1], [1, 1, 1]))
    assert result.samples_at_exits.tolist() == [2, 1, 1], "the first sample would qualify at exit 2 again"
    assert result.accuracy == 3 / 4


def outcomes_from(rng, n=900):
    label, logits = (array[:n] for array in random_logits(rng, n)[::-1])
    return outcomes_of(label, logits, Scoring.plain("entropy", exit_names(logits.shape[1])))


def certificate(outcomes, loss=0.2, **settings):
    wanted = [("certified", loss)]
    costs = from_parts("macs", [10, 30, 60], [1, 1, 1])
    scoring = Scoring.plain("entropy", outcomes.exits)
    return calibrate(outcomes, costs, scoring, Settings(wanted, wanted[0], **settings)).selected


def test_folds_and_certificate_do_not_depend_on_the_order_of_the_rows(rng):
    outcomes = outcomes_from(rng)
    permuted = outcomes.take(rng.permutation(len(outcomes)))
    for one, other in zip(deal(outcomes, 0.2, 17), deal(permuted, 0.2, 17), strict=True):
        assert digest(one.rows.sample) == digest(other.rows.sample)
    found, again = certificate(outcomes), certificate(permuted)
    assert found.certificate is not None and found.thresholds == pytest.approx(again.thresholds, abs=1e-12)
    assert [s.p_value for s in found.certificate.steps] == [s.p_value for s in again.certificate.steps]
    assert certificate(outcomes, fold_seed=18).thresholds != found.thresholds


def without_labels(outcomes, rows):
    """The same outcomes where these rows' labels are null, as they are read from a cache."""
    label, correct = outcomes.label.copy(), outcomes.correct.copy()
    label[rows], correct[rows] = UNKNOWN, False
    return replace(outcomes, label=label, correct=correct)


def test_labels_of_disagreements_alone_give_the_same_certificate(rng):
    outcomes = outcomes_from(rng)
    agree = outcomes.agrees.all(axis=1)
    few = without_labels(outcomes, agree)
    assert 100 < agree.sum() < 800
    assert certificate(few).certificate == certificate(outcomes).certificate is not None


def test_an_unlabelled_disagreement_ends_the_walk(rng):
    outcomes = outcomes_from(rng)
    full = certificate(outcomes)
    certify = deal(outcomes, 0.2, 17)[1]
    claim = LossClaim(certify, 0.2, "score", 1e-4)
    steps = [step.thresholds for step in full.certificate.steps]
    read = np.array([claim.labels_read(Policy(step)) for step in steps])  # (steps, certify rows)
    before = np.maximum.accumulate(read)
    at = next(k for k in range(3, len(steps)) if (read[k] & ~before[k - 1]).any())
    late = np.flatnonzero(read[at] & ~before[at - 1])[0]  # a row that no earlier candidate needs
    found = certificate(without_labels(outcomes, outcomes.sample == certify.rows.sample[late])).certificate
    assert found.returned == at and len(found.steps) == at + 1
    assert (found.steps[at].counts, found.steps[at].p_value) == ({"unlabelled": 1}, 1.0)
    early = np.flatnonzero(read[0])[0]
    none = certificate(without_labels(outcomes, outcomes.sample == certify.rows.sample[early]))
    assert not none.feasible and "1 certify rows need a label" in none.reason and none.thresholds == full_network(3)


def test_a_loss_claim_counts_damage_and_rescue_against_the_full_network():
    correct = [[1, 1], [0, 1], [1, 0], [0, 0], [0, 1]]
    outcomes = make_outcomes([[0.1, 0], [0.2, 0], [0.3, 0], [0.4, 0], [0.9, 0]], correct)
    step = LossClaim(Certify(outcomes), 0.3, "score", 1e-4).step(Policy((0.5, inf)))
    assert step.counts == {"damaged": 1, "rescued": 1}
    assert step.p_value == p_value(5, 1, 1, 0.3, "score", 1e-4)


def test_the_least_sure_of_the_exits_decides_an_exit_accuracy_claim(rng):
    outcomes = random_outcomes(rng, n=400)
    claim = ExitAccuracyClaim(Certify(outcomes), 0.6)
    thresholds = (0.3, None, 0.6, inf)
    taken = replay(outcomes, Policy(thresholds), COSTS).taken
    counts = [(int(outcomes.correct[taken == k, k].sum()), int((taken == k).sum())) for k in (0, 2)]
    step = claim.step(Policy(thresholds))
    assert step.p_value == max(accuracy_p_value(*pair, 0.6) for pair in counts)
    assert (step.counts["correct_exit_1"], step.counts["samples_exit_1"]) == counts[0]
    assert claim.labels_read(Policy(thresholds)).tolist() == (taken < 3).tolist()
    assert claim.step(Policy((-1.0, None, 0.6, inf))).p_value == 1.0, "an exit that nobody took proves nothing"


def test_an_accuracy_claim_counts_everybody(rng):
    outcomes = random_outcomes(rng, n=100)
    claim = AccuracyClaim(Certify(outcomes), 0.7)
    correct = int(replay(outcomes, Policy((0.3, None, 0.6, inf)), COSTS).correct.sum())
    assert claim.step(Policy((0.3, None, 0.6, inf))).p_value == accuracy_p_value(correct, 100, 0.7)
    assert claim.labels_read(Policy((0.3, None, 0.6, inf))).all()


def test_gamma_is_at_most_a_hundredth_of_the_level(rng):
    outcomes = outcomes_from(rng)
    strict = certificate(outcomes, delta=0.001, loss=0.5)
    assert strict.certificate.test.endswith("gamma 1e-05")
    assert max(GAMMA.values()) <= 0.1 / 100
