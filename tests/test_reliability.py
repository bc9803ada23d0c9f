import json
from pathlib import Path

import numpy as np
import pytest
from conftest import random_logits

import offramp
from offramp.cache.reading import open_cache
from offramp.commands.main import main
from offramp.evaluation.reliability import BINS, reliability_of
from offramp.scores.scoring import Scoring


def slow_expected_calibration_error(logits, label):
    """Row by row into bins, as the definition says."""
    bins = {}
    for row, right in zip(logits, label, strict=True):
        p = np.exp(row - row.max())
        p /= p.sum()
        bins.setdefault(min(int(p.max() * BINS), BINS - 1), []).append((p.max(), p.argmax() == right))
    return sum(abs(sum(c for c, _ in rows) - sum(r for _, r in rows)) for rows in bins.values()) / len(label)


@pytest.fixture(autouse=True)
def caches(tmp_path, rng, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("val", "test"):
        logits, labels = random_logits(rng, n=600)
        offramp.write_logits(f"{name}.parquet", 10 * logits, labels)
    return 10 * logits.astype(np.float64), labels


def test_the_expected_calibration_error_equals_its_definition(caches):
    logits, labels = caches
    cache = open_cache(Path("test.parquet"))
    (measured,) = reliability_of(cache, [Scoring.plain("entropy", cache.exits)])
    expected = [slow_expected_calibration_error(logits[:, k], labels) for k in range(3)]
    assert measured.expected_calibration_error() == pytest.approx(expected, abs=1e-9)


def test_scaling_lowers_the_errors_of_overconfident_exits(capsys):
    assert main(["reliability", "--val", "val.parquet", "--test", "test.parquet", "--out", "r.json"]) == 0
    assert "expected calibration error" in capsys.readouterr().out
    result = json.loads(Path("r.json").read_text())
    assert result["rows"] == 600
    for row in result["exits"].values():
        assert list(row) == ["temperature", "ece", "ece_scaled", "nll", "nll_scaled"]
        assert row["temperature"] > 1.5
        assert row["ece_scaled"] < row["ece"]
        assert row["nll_scaled"] < row["nll"]


def test_caches_of_different_networks_are_refused(rng, capsys):
    offramp.write_logits("two.parquet", *random_logits(rng, n_exits=2))
    assert main(["reliability", "--val", "val.parquet", "--test", "two.parquet", "--out", "r.json"]) == 2
    assert "of one network" in capsys.readouterr().err
