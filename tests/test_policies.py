import json
import math

import numpy as np
import pytest

from offramp.cli import main
from offramp.errors import InputError
from offramp.policies import Policies, Policy, describe, exits_taken, midway, read_policies, write_policies
from offramp.scoring import Scoring

INF = math.inf


def test_sample_leaves_at_the_first_confident_exit():
    uncertainty = np.array([[0.1, 0.1, 9.0], [0.9, 0.2, 9.0], [0.9, 0.9, 9.0]])
    assert exits_taken(uncertainty, (0.5, 0.5, INF)).tolist() == [0, 1, 2]


def test_an_uncertainty_equal_to_the_threshold_leaves():
    assert exits_taken(np.array([[0.5, 1.0]]), (0.5, INF)).tolist() == [0]
    assert exits_taken(np.array([[np.nextafter(0.5, 1), 1.0]]), (0.5, INF)).tolist() == [1]


def test_nobody_leaves_at_a_disabled_exit_and_everybody_at_an_infinite_one():
    uncertainty = np.array([[-50.0, 700.0, 0.0], [0.0, -3.0, 0.0]])
    assert exits_taken(uncertainty, (None, INF, INF)).tolist() == [1, 1]


def test_exits_taken_equals_a_plain_loop(rng):
    uncertainty = rng.random((500, 5)).round(1)
    thresholds = (0.2, None, 0.5, 0.0, INF)
    expected = []
    for row in uncertainty:
        left = [k for k, t in enumerate(thresholds) if t is not None and row[k] <= t]
        expected.append(left[0] if left else 4)
    assert exits_taken(uncertainty, thresholds).tolist() == expected


def test_midway_separates_even_neighbouring_numbers():
    low = 0.1
    high = np.nextafter(low, 1)
    assert low <= midway(low, high) < high
    assert midway(1.0, 2.0) == 1.5


@pytest.fixture
def file(tmp_path):
    policies = [Policy("shared", 0.9, (0.1, None, INF)), Policy("per_exit", 0.8, (INF, None, INF), False, "no", 0.7)]
    scoring = Scoring("entropy", {"exit_1": 1.0, "exit_2": 2.0, "exit_3": 1.0})
    path = tmp_path / "policies.json"
    write_policies(path, Policies(scoring, policies, policies[0]))
    return path


def test_policies_survive_a_round_trip(file):
    content = read_policies(file)
    assert [policy.thresholds for policy in content.policies] == [(0.1, None, INF), (INF, None, INF)]
    assert content.selected.name == "shared@0.9"
    assert content.scoring.temperature["exit_2"] == 2.0
    assert not content.policies[1].feasible


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["policies"][0]["thresholds"].pop("exit_2"), "threshold for each of"),
        (lambda c: c["policies"][0]["thresholds"].update(exit_3=0.5), "last exit"),
        (lambda c: c["policies"][0]["thresholds"].update(exit_1=math.nan), "NaN is not JSON"),
        (lambda c: c["policies"][0]["thresholds"].update(exit_1=math.inf), "Infinity is not JSON"),
        (lambda c: c["policies"][0].update(rule="tarot"), "unknown rule 'tarot'"),
        (lambda c: c["policies"][1].update(selected=True), "exactly one policy must be selected; 2 are"),
        (lambda c: c.update(score="surprise"), "known: activation, change, energy, entropy, least_confidence, margin"),
        (lambda c: c.update(score="change"), "score_arguments belong to the scores 'change' and 'activation'"),
        (lambda c: c.update(score_arguments={}), "score_arguments belong to the scores 'change' and 'activation'"),
        (lambda c: c.update(score="change", score_arguments={"exit_1": {}}), "must name the side exits exit_1, exit_2"),
        (
            lambda c: c.update(score="change", score_arguments={"exit_1": {"weights": "x"}, "exit_2": {}}),
            "exit_1 of score 'change' needs weights",
        ),
        (lambda c: c["policies"][0].update(score="margin"), "a score or temperature of its own"),
        (lambda c: c["policies"][0].update(certificate={"returned": 1}), "certificate"),
        (lambda c: c.update(schema_version=2), "schema_version"),
        (lambda c: c.update(temperature={"exit_1": 0.0}), "temperature"),
        (lambda c: c.pop("policies"), "policies is missing"),
        (
            lambda c: c["policies"][0].update(validation={"accuracy": None, "mac_ratio": 0.5}),
            "validation.accuracy must be a finite number or left out; it is null",
        ),
        (lambda c: c["policies"][0].update(validation={"mac_ratio": "0.5"}), "validation.mac_ratio .* it is str"),
        (lambda c: c["policies"][0].update(validation={"loss": True}), "validation.loss .* it is bool"),
        (lambda c: c["policies"][0].update(validation={"accuracy": 10**400}), "validation.accuracy .* it is int"),
    ],
)
def test_a_broken_file_is_refused_in_one_line(file, change, message):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message) as error:
        read_policies(file)
    assert "\n" not in str(error.value)


def test_a_certificate_survives_a_round_trip_with_one_line_per_step(tmp_path):
    steps = [{"thresholds": [0.1, None, "inf"], "damaged": 0, "rescued": 1, "p_value": 0.01}] * 3
    certificate = {"returned": 2, "declared": 5, "labels_used": 7, "statement": 'step 1 of "2"', "steps": steps}
    policy = Policy("certified", 0.01, (0.1, None, INF), certificate=certificate)
    path = tmp_path / "policies.json"
    content = Policies(Scoring.plain("entropy", ["exit_1", "exit_2", "exit_3"]), [policy], policy)
    write_policies(path, content)
    assert read_policies(path) == content
    assert sum('"damaged": 0' in line for line in path.read_text().splitlines()) == 3
    assert "step 2 of 5, 7 labels" in describe(content)


@pytest.mark.parametrize("depth", [800, 5000, 200_000])
@pytest.mark.parametrize("whole", [True, False])
def test_json_that_is_nested_too_deeply_is_one_line_and_status_2(tmp_path, capsys, depth, whole):
    nested = "[" * depth + "]" * depth
    text = nested if whole else '{"schema_version": ' + nested + ', "policies": [' + nested + "]}"
    (tmp_path / "p.json").write_text(text)
    assert main(["check", str(tmp_path / "p.json")]) == 2
    error = capsys.readouterr().err
    assert "p.json" in error
    assert error.count("\n") == 1
