import numpy as np
import pytest

from offramp.statistics.bootstrap import bootstrap_means, resampled_means

VALUES = np.array([[0.0, 0.2], [1.0, 0.2], [0.0, 0.6], [-1.0, 0.6], [0.0, 1.0]])  # (cells, measures): loss, cost
COUNTS = np.array([150, 12, 80, 5, 53])


def test_resampling_cells_is_resampling_rows():
    """Both are draws of the same law: means, standard errors, correlation and tails agree within sampling error."""
    rows = np.repeat(VALUES, COUNTS, axis=0)
    rng = np.random.default_rng(1)
    brute = np.stack([rows[rng.integers(len(rows), size=len(rows))].mean(axis=0) for _ in range(4000)])
    fast = resampled_means(VALUES, COUNTS, resamples=4000)
    error = brute.std(axis=0)
    assert np.abs(fast.mean(axis=0) - rows.mean(axis=0)).max() < 4 * error.max() / np.sqrt(4000)
    assert fast.std(axis=0) == pytest.approx(error, rel=0.05)
    assert np.corrcoef(fast.T)[0, 1] == pytest.approx(np.corrcoef(brute.T)[0, 1], abs=0.06)
    for tail in (0.025, 0.5, 0.975):
        assert np.abs(np.quantile(fast, tail, axis=0) - np.quantile(brute, tail, axis=0)).max() < 0.15 * error.max()


def test_standard_error_is_that_of_the_mean():
    rows = np.repeat(VALUES, COUNTS, axis=0)
    expected = rows.std(axis=0) / np.sqrt(len(rows))
    assert resampled_means(VALUES, COUNTS, resamples=20_000).std(axis=0) == pytest.approx(expected, rel=0.03)


def test_intervals_cover_the_true_means_about_as_often_as_they_say(rng):
    p = COUNTS / COUNTS.sum()
    truth = p @ VALUES
    held = np.zeros(2)
    draws = 500
    for counts in rng.multinomial(400, p, size=draws):
        interval = bootstrap_means(VALUES, counts)
        held += (interval[:, 0] <= truth) & (truth <= interval[:, 1])
    assert ((held / draws > 0.92) & (held / draws < 0.98)).all()


def test_the_same_call_gives_the_same_interval_and_empty_cells_change_nothing():
    interval = bootstrap_means(VALUES, COUNTS)
    assert (bootstrap_means(VALUES, COUNTS) == interval).all()
    more = np.concatenate([VALUES, [[99.0, 99.0]]])
    assert (bootstrap_means(more, np.append(COUNTS, 0)) == interval).all()


def test_rows_that_are_all_alike_leave_no_width():
    for n in (1, 7, 10_000):
        assert bootstrap_means(np.array([[0.25, -1.0]]), np.array([n])).tolist() == [[0.25, 0.25], [-1.0, -1.0]]
