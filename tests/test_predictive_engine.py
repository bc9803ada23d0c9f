"""Activation thresholds, the exit rule and the engine, against their formulas taken literally."""

import numpy as np
import pytest

from offramp.policies.outcomes import observe
from offramp.policies.routes.observed import Look, OneExit
from offramp.policies.routes.smoothing import engine_macs, growth, jumps, powers
from offramp.project.errors import InputError
from offramp.scores.activation import STATISTICS, Activation, ThresholdSums, thresholds_of
from offramp.scores.scoring import Scoring
from studies.predictive_exit.sensitivity import centred


def kernel(n_classes: int) -> np.ndarray:
    return sum(np.eye(n_classes, k=offset) for offset in (-1, 0, 1))


def literal_forecast(logits, beta, thresholds, exit_number, horizon):
    """k̂ of one sample's logits (classes,) at one exit: the formula, round after round."""
    last_side = len(thresholds) - 2
    z = logits.astype(float)
    for k in range(1, horizon + 1):
        z = kernel(len(z)) @ z
        if np.abs(z).max() > beta * thresholds[min(exit_number + k, last_side)]:
            return k
    return horizon


@pytest.mark.parametrize("n_classes", [2, 10, 100])
def test_powers_are_those_of_the_kernel(rng, n_classes):
    logits = rng.normal(size=(5, 3, n_classes)).astype(np.float32)
    found = powers(logits, 8)
    for k in range(9):
        expected = np.abs(logits @ np.linalg.matrix_power(kernel(n_classes), k)).max(axis=-1)
        np.testing.assert_allclose(found[..., k], expected, rtol=1e-12)


@pytest.mark.parametrize("horizon", [1, 5, 8])
def test_forecasts_are_those_of_the_formula_for_every_exit_and_beta(rng, horizon):
    n_exits = 7
    logits = rng.normal(size=(60, n_exits, 10))
    thresholds = tuple(rng.uniform(0.05, 3, n_exits))
    grown = powers(logits, 8)
    for exit_number in range(n_exits - 1):
        at = growth(grown[:, exit_number], thresholds, exit_number)
        before = np.zeros(60)
        for beta in (0.5, 3.0, 20.0, 200.0):
            wanted = [literal_forecast(z, beta, thresholds, exit_number, horizon) for z in logits[:, exit_number]]
            found = jumps(at, beta, horizon)
            assert found.tolist() == wanted
            assert (found >= before).all()
            before = found


def test_a_sample_leaves_at_equality_but_is_not_forecast_to():
    score = Activation((0.1, 0.1, 0.1))
    table = observe(Look(score, 8), np.array([[[0.7, 0.0], [0.0, -0.7], [0.0, 0.7]]]), np.array([0]), np.array([0]))
    assert table.fires(-7.0).tolist() == [[True, True, True]]  # M = βT, whatever 0.7 / 0.1 rounds to
    assert table.fires(-7.0000001).tolist() == [[False, False, True]]
    assert jumps(table.growth[:, 0], 7.0).tolist() == [2]  # K z = (0.7, 0.7) equals βT and does not exceed it


def test_the_faithful_first_exit_multiplies():
    logits = np.full((1, 3, 2), 3.0)
    scores = [Activation((2.0, 2.0, 2.0), faithful) for faithful in (False, True)]
    found = [observe(Look(score), logits, np.array([0]), np.array([0])).uncertainty.tolist() for score in scores]
    assert found == [[[-1.5, -1.5, -1.5]], [[-6.0, -1.5, -1.5]]]


def test_statistics_by_hand_and_in_batches():
    logits = np.array([[[1.0, -3.0], [2.0, 4.0]], [[-1.0, 1.0], [0.0, 6.0]], [[5.0, 1.0], [-2.0, -4.0]]])
    label = np.array([0, 1, 1])
    wanted = {
        "signed_mean": (4 / 6, 1.0),
        "mean_abs": (2.0, 3.0),
        "mean_max": (3.0, 14 / 3),
        "winning_correct": (1.0, 6.0),  # rows 1 and 2 are right at exit 1, row 2 at exit 2
    }
    sums = ThresholdSums(2)
    for row in (2, 0, 1):
        sums.add(logits[[row]], label[[row]])
    for name in STATISTICS:
        assert thresholds_of(logits.shape[1], [(logits, label)], name) == pytest.approx(wanted[name])
        assert sums.thresholds(name) == pytest.approx(wanted[name])
    assert thresholds_of(logits.shape[1], [(logits, np.array([1, 0, -1]))], "winning_correct") == pytest.approx(
        (7 / 3, 4.0)
    )


def test_thresholds_refuse_what_they_cannot_be_made_of():
    with pytest.raises(InputError, match="known: mean_abs, mean_max, signed_mean, winning_correct"):
        ThresholdSums(2).thresholds("mean")
    with pytest.raises(InputError, match="at least one row"):
        ThresholdSums(2).thresholds("mean_abs")
    with pytest.raises(InputError, match="labelled"):
        thresholds_of(np.zeros((1, 2, 2)).shape[1], [(np.zeros((1, 2, 2)), np.array([-1]))], "winning_correct")


def test_centred_logits_make_the_signed_mean_nothing_and_every_exit_fires(rng):
    logits = centred(rng.normal(size=(50, 4, 10)))
    logits[0] = 0.0
    thresholds = thresholds_of(logits.shape[1], [(logits, np.zeros(50, int))], "signed_mean")
    assert max(thresholds) < 1e-15
    for exact in (thresholds, (0.0,) * 4):
        table = observe(Look(Activation(exact), 8), logits, np.zeros(50, int), np.arange(50))
        assert np.isfinite(table.uncertainty).all()
        assert np.isfinite(table.growth).all()
        assert table.fires(-200.0)[1:].all()
        assert (jumps(table.growth[1:, 0], 200.0) == 1).all()
    assert table.fires(-200.0)[0].all()  # 0 ≥ β·0
    assert jumps(table.growth[:1, 0], 200.0).tolist() == [8]  # and 0 > β·0 is false


def test_an_engine_step_of_ten_classes_and_eight_rounds_is_160_additions():
    assert engine_macs(10, 8) == 160
    assert engine_macs(100, 8) == 1600


def test_looks_refuse_what_no_single_exit_can_tell():
    plain = Scoring.plain("entropy", ["exit_1", "exit_2"])
    with pytest.raises(ValueError, match="must be 'activation'"):
        Look(OneExit(plain), horizon=8)
    with pytest.raises(ValueError, match="compares an exit"):
        OneExit(Scoring("change", plain.temperature, fitted=object()))
