import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from offramp.statistics.exact_tests import score_statistic
from offramp.statistics.intervals import paired_loss, simultaneous, wilson


def test_wilson_solves_its_own_equation():
    z = 1.959963984540054
    for correct, total in [(0, 5), (1, 7), (50, 100), (9321, 10000), (5, 5)]:
        for p in wilson(correct, total):
            assert (correct / total - p) ** 2 == pytest.approx(z**2 * p * (1 - p) / total, abs=1e-12)


def test_wilson_holds_the_estimate_at_every_edge():
    for total in range(1, 200):
        for correct in {0, 1, total - 1, total}:
            low, high = wilson(correct, total)
            assert 0 <= low <= correct / total <= high <= 1


def test_wilson_covers_the_truth_about_as_often_as_it_says(rng):
    truth, total = 0.93, 400
    hits = [low <= truth <= high for low, high in (wilson(int(c), total) for c in rng.binomial(total, truth, 2000))]
    assert 0.93 < np.mean(hits) < 0.97


def test_the_paired_interval_uses_the_likelihood_restricted_to_its_loss():
    """Tango's variance comes from the most likely table with that loss, found here by a search."""
    damaged, rescued, total = 12, 5, 200
    for eps in paired_loss(damaged, rescued, total):

        def unlikely(q, eps=eps):
            p10, p01 = (q + eps) / 2, (q - eps) / 2
            return -(damaged * math.log(p10) + rescued * math.log(p01) + (total - damaged - rescued) * math.log(1 - q))

        q = minimize_scalar(unlikely, bounds=(abs(eps) + 1e-9, 1 - 1e-9), method="bounded", options={"xatol": 1e-12}).x
        z = (damaged - rescued - total * eps) / math.sqrt(total * (q - eps**2))
        assert abs(z) == pytest.approx(1.959964, rel=1e-4)


def test_the_paired_interval_covers_the_true_loss(rng):
    total, p = 500, [0.03, 0.01, 0.96]
    tables = rng.multinomial(total, p, size=2000)
    hits = [low <= 0.02 <= high for low, high in (paired_loss(int(d), int(r), total) for d, r, _ in tables)]
    assert 0.93 < np.mean(hits) < 0.97


@pytest.mark.parametrize(
    ("damaged", "rescued", "total"), [(0, 0, 10), (0, 0, 1), (1, 0, 1), (0, 1, 1), (10, 0, 10), (0, 10, 10), (3, 7, 10)]
)
def test_the_paired_interval_holds_the_estimate_at_every_edge(damaged, rescued, total):
    low, high = paired_loss(damaged, rescued, total)
    assert -1 <= low <= (damaged - rescued) / total <= high <= 1


def test_no_samples_tell_nothing():
    assert wilson(0, 0) == (0.0, 1.0)
    assert paired_loss(0, 0, 0) == (-1.0, 1.0)


def test_intervals_that_hold_together_share_the_chance_of_an_error():
    assert simultaneous(1) == pytest.approx(0.95)
    assert simultaneous(10) == pytest.approx(0.995)
    assert simultaneous(0) == pytest.approx(0.95)
    wide, narrow = paired_loss(12, 5, 200, simultaneous(10)), paired_loss(12, 5, 200)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_intervals_end_where_the_test_of_the_certificate_has_the_critical_value():
    for damaged, rescued, total in [(12, 5, 200), (0, 0, 10), (3, 7, 10), (70, 20, 10_000)]:
        low, high = paired_loss(damaged, rescued, total)
        for eps, z in ((low, 1.959964), (high, -1.959964)):
            statistic = score_statistic(damaged - rescued, damaged + rescued, total, eps)
            assert float(statistic) == pytest.approx(z, abs=1e-4)
