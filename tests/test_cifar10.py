"""The experiment on CIFAR-10: what it computes from a finished pipeline, on a small cache with known truth."""

import json

import numpy as np
import pytest

from docs.readme import cifar10 as report
from experiments.cifar10 import mistakes as module
from experiments.cifar10.mistakes import mistakes
from experiments.cifar10.tasks import exits_alone, read_entropy
from offramp.cache.writing import write_logits
from offramp.policies.costs import from_parts, write_costs

STRENGTH = (2.0, 4.0, 9.0)  # of the right class's logit: later exits know more


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """A folder as the pipeline leaves it: logits of 3 exits and 4 classes, and costs."""
    folder = tmp_path_factory.mktemp("pipeline")
    rng = np.random.default_rng(5)
    for split, n in (("val", 300), ("test", 1200)):
        label = rng.integers(0, 4, n)
        logits = rng.normal(0, 2, (n, 3, 4))
        logits[np.arange(n), :, label] += np.array(STRENGTH) * rng.random((n, 1))
        write_logits(folder / f"data/logits/{split}.parquet", logits.astype(np.float32), label)
    costs = from_parts("macs", [10, 20, 30], [3, 2, 1])
    exits = ["exit_1", "exit_2", "exit_3"]
    write_costs(folder / "metrics/costs.json", exits, [10, 20, 30], [3, 2, 1])
    assert costs.full == 61
    return folder


def test_mistakes_are_those_of_a_literal_loop(pipeline, monkeypatch):
    monkeypatch.setattr(module, "REPEATS", 3)
    monkeypatch.setattr(module, "TUNED_ON", (200,))
    found = mistakes(pipeline)
    test = read_entropy(pipeline, "test")
    right, wrong, reached = [], [], [[], [], []]
    early = []
    for uncertainty, correct in zip(test.uncertainty, test.correct, strict=True):
        k = next((k for k in (0, 1) if uncertainty[k] <= 0.6), 2)
        inverted = next((k for k in (0, 1) if uncertainty[k] >= 0.6), 2)
        right.append((k, correct[k]))
        wrong.append(correct[inverted])
        early += [correct[k]] if k < 2 else []
        for passed in range(k + 1):
            reached[passed].append(k)
    at_exits = [np.mean([c for k, c in right if k == exit_]) for exit_ in range(3)]
    weights = [len(samples) for samples in reached]
    assert found["inverted_test"]["right"]["accuracy"] == pytest.approx(np.mean([c for _, c in right]))
    assert found["inverted_test"]["mistake"]["accuracy"] == pytest.approx(np.mean(wrong))
    forgotten = found["forgotten_last_exit"]
    assert forgotten["mistake_early_exits_only"] == pytest.approx(np.mean(early))
    assert forgotten["mistake_weighted_by_reaching"] == pytest.approx(np.average(at_exits, weights=weights))
    assert forgotten["share_at_last_exit"] == pytest.approx(np.mean([k == 2 for k, _ in right]))


def test_tuning_on_what_is_reported_on_claims_too_much(pipeline, monkeypatch):
    monkeypatch.setattr(module, "REPEATS", 12)
    monkeypatch.setattr(module, "TUNED_ON", (150,))
    rows = mistakes(pipeline)["tuned_on_test"]
    assert [row["rows"] for row in rows] == [150] * 3
    assert sum(row["true_minus_claimed_loss"] > 2 * row["standard_error_over_tunings"] > 0 for row in rows) == 3


def test_exits_alone_count_val_and_test(pipeline):
    found = exits_alone(pipeline)
    assert (found["samples_test"], found["samples_val_and_test"]) == (1200, 1500)
    both = np.concatenate([read_entropy(pipeline, split).correct for split in ("val", "test")])
    assert list(found["val_and_test"].values()) == pytest.approx(both.mean(0).tolist())


def test_a_network_that_was_not_run_is_called_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    entry = {"feasible": True, "loss": 0.01, "loss_low": 0.0, "loss_high": 0.02, "mac_ratio": 0.5}
    evaluation = {"full": {"mmacs": 38.9}, "certified": {"0.02": entry}}
    exits = {"samples_test": 50, "samples_val_and_test": 80, "test": {"exit_1": 0.5, "exit_2": 0.75}}
    host = {"cpu": "a", "cores": 2, "memory_gib": 1.0, "gpu": "none"}
    result = {"exits": exits, "selected": "certified@0.02", "val_from": "test", "host": host}
    (tmp_path / "given").mkdir()
    (tmp_path / "given/result.json").write_text(json.dumps(result))
    (tmp_path / "given/evaluation.json").write_text(json.dumps(evaluation))
    block = report.networks_block()
    assert (
        "| 0.500 0.750 | 38.90 | certified@0.02 | 0.0100 (0.0000 to 0.0200) | 2.00× | 30 (test images), 50 |" in block
    )
    assert "trained here | missing: not run yet |" in block
    assert "| ResNet-18, trained here | missing: not run, for want of a GPU |" in block
