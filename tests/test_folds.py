import hashlib

import numpy as np
import pytest
from conftest import random_outcomes

from offramp.cache.folds import digest, in_tune
from offramp.calibration.folds import deal


def test_a_row_is_dealt_by_the_first_eight_bytes_of_a_hash_of_seed_and_id():
    ids = np.array([0, 1, 7, -3, 2**40])
    expected = [
        int.from_bytes(hashlib.sha256(f"17:{number}".encode()).digest()[:8], "big") / 2**64 < 0.3 for number in ids
    ]
    assert in_tune(ids, 0.3, 17).tolist() == expected


def test_about_a_share_of_tune_fraction_is_dealt_to_tune_and_another_seed_deals_others():
    ids = np.arange(20_000)
    assert in_tune(ids, 0.2, 17).mean() == pytest.approx(0.2, abs=0.01)
    both = in_tune(ids, 0.2, 17) & in_tune(ids, 0.2, 18)
    assert both.mean() == pytest.approx(0.04, abs=0.005)


def test_a_smaller_fraction_deals_a_part_of_the_same_fold():
    ids = np.arange(5_000)
    assert not (in_tune(ids, 0.1, 3) & ~in_tune(ids, 0.2, 3)).any()


def test_the_folds_are_disjoint_complete_and_independent_of_the_order_of_rows(rng):
    outcomes = random_outcomes(rng, n=500)
    tune, certify = deal(outcomes, 0.25, 5)
    assert sorted([*tune.rows.sample, *certify.rows.sample]) == list(range(500))
    shuffled = outcomes.take(rng.permutation(500))
    again, _ = deal(shuffled, 0.25, 5)
    assert set(again.rows.sample) == set(tune.rows.sample)
    assert digest(again.rows.sample) == digest(tune.rows.sample) != digest(certify.rows.sample)
