import csv
from dataclasses import replace

import numpy as np
import pytest
from conftest import random_logits, read_entropy

import offramp
from offramp.cache.reading import UNKNOWN
from offramp.cache.writing import CacheWriter
from offramp.calibration import calibrate, make_problem
from offramp.calibration.labels import next_labels
from offramp.calibration.settings import Settings
from offramp.commands.main import main
from offramp.policies.costs import from_parts, write_costs
from offramp.scores.scoring import Scoring

LOSSES = [0.02, 0.05]
SETTINGS = Settings([("certified", loss) for loss in LOSSES], ("certified", 0.05))


@pytest.fixture
def case(tmp_path, rng):
    offramp.write_logits(tmp_path / "val.parquet", *random_logits(rng, n=1500))
    outcomes = read_entropy(tmp_path / "val.parquet")
    return outcomes, from_parts("macs", [5, 5, 5], [1, 1, 1]), Scoring.plain("entropy", outcomes.exits)


def hide(outcomes, rows):
    label = outcomes.label.copy()
    label[rows] = UNKNOWN
    correct = outcomes.correct & (label != UNKNOWN)[:, None]
    return replace(outcomes, label=label, correct=correct)


def reveal(outcomes, truth, samples):
    known = np.isin(truth.sample, samples) | outcomes.labelled
    return hide(truth, ~known)


@pytest.mark.parametrize("ahead", [1, 10])
def test_labelling_only_what_is_asked_for_ends_with_the_certificate_of_all_labels(case, ahead):
    truth, costs, scoring = case
    outcomes, rounds = hide(truth, np.ones(len(truth), bool)), 0
    while (request := next_labels(make_problem(outcomes, costs, scoring, SETTINGS), LOSSES, ahead)).rows:
        samples = [sample for _, sample in request.rows]
        assert not outcomes.labelled[np.isin(outcomes.sample, samples)].any()
        assert [step for step, _ in request.rows] == sorted(step for step, _ in request.rows)
        outcomes = reveal(outcomes, truth, samples)
        rounds += 1
    assert rounds > 1
    assert outcomes.labelled.mean() < 0.6
    found, expected = calibrate(outcomes, costs, scoring, SETTINGS), calibrate(truth, costs, scoring, SETTINGS)
    for policy, with_all in zip(found.policies, expected.policies, strict=True):
        assert policy.thresholds == with_all.thresholds
        assert policy.certificate == with_all.certificate
        assert "accuracy" not in policy.validation
    if ahead == 1:
        used = max(policy.certificate.labels_used for policy in found.policies)
        assert outcomes.labelled.sum() == used


def test_a_walk_stops_before_the_first_candidate_that_reads_an_unknown_label(case):
    truth, costs, scoring = case
    some = hide(truth, np.arange(len(truth)) % 50 == 0)
    policy = calibrate(some, costs, scoring, SETTINGS).selected
    full = calibrate(truth, costs, scoring, SETTINGS).selected
    if policy.feasible:
        assert policy.certificate.returned <= full.certificate.returned
        assert policy.certificate.steps[-1].p_value == 1 or policy.thresholds == full.thresholds
    else:
        assert "need a label" in policy.reason


def test_without_any_label_nothing_is_certified_and_the_reason_says_what_to_do(case):
    truth, costs, scoring = case
    # until the first candidate changes an answer no label is needed; then the walk stops
    policy = calibrate(hide(truth, np.ones(len(truth), bool)), costs, scoring, SETTINGS).selected
    assert not policy.feasible or policy.certificate.labels_used == 0


def test_the_command_lists_rows_and_calibrates_with_null_labels(tmp_path, rng, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    logits, labels = random_logits(rng, n=900)
    labels[::2] = UNKNOWN
    with CacheWriter(tmp_path / "val.parquet", 3, 4, "float32", {}) as writer:
        writer.write(np.arange(900) * 7, labels, logits)
    write_costs(tmp_path / "costs.json", ["exit_1", "exit_2", "exit_3"], [5, 5, 5], [1, 1, 1])
    arguments = ["--val", "val.parquet", "--costs", "costs.json"]
    assert main(["labels", *arguments, "--out", "rows.csv", "--ahead", "30"]) == 0
    assert "rows need a label for step" in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "rows.csv").open()))
    assert list(rows[0]) == ["step", "sample"]
    assert all(int(row["sample"]) % 14 == 0 for row in rows)
    assert main(["calibrate", *arguments, "--out", "p.json"]) == 2
    assert "450 of 900 labels are null; only method certified does without" in capsys.readouterr().err
    assert main(["calibrate", *arguments, "--out", "p.json", "--set", "calibrate.methods=[certified]"]) == 0
