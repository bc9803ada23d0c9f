import json
import math
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from offramp.commands.main import main
from offramp.policies.certificate import Certificate, CertificateCosts
from offramp.policies.costs import Costs, from_parts
from offramp.policies.file import read_policies, write_policies
from offramp.policies.policy import Policies, Policy, exits_taken, midway
from offramp.policies.text import describe
from offramp.project.errors import InputError
from offramp.scores.scoring import Scoring

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
    policies = [
        Policy((0.1, None, INF), method="shared", target=0.9),
        Policy((INF, None, INF), method="per_exit", target=0.8, feasible=False, reason="no", nearest=0.7),
    ]
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
        (lambda c: c["policies"][0].update(name="shared@0.95"), "must be its method and target, shared@0.9"),
        (lambda c: c["policies"][0].update(looks=3), r"policies\.0\.looks is not"),
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


CERTIFICATE = {
    "statement": 'step 1 of "2"',
    "hypothesis": "it is \u00e9",
    "test": "by eye",
    "n": 80,
    "delta": 0.1,
    "level": 0.05,
    "looks": 2,
    "several": "",
    "labels_used": 7,
    "folds": {
        "fold_seed": 17,
        "tune_fraction": 0.2,
        "tune": {"rows": 20, "sha256": "ab"},
        "certify": {"rows": 80, "sha256": "cd"},
    },
    "family": "equal_change",
    "costs": {"segment": [1.0, 2.0, 3.0], "head": [0.5, 0.5, 0.0], "full": 6.0},
    "declared": 5,
    "returned": 2,
    "steps": [{"thresholds": [0.1, None, "inf"], "damaged": 0, "rescued": 1, "p_value": 0.01}] * 3,
    "assumptions": ["none"],
}


def test_a_certificate_survives_a_round_trip_with_one_line_per_step(tmp_path):
    certificate = Certificate.model_validate(CERTIFICATE)
    scoring = Scoring.plain("entropy", ["exit_1", "exit_2", "exit_3"])
    policy = Policy((0.1, None, INF), scoring=scoring, method="certified", target=0.01, certificate=certificate)
    path = tmp_path / "policies.json"
    content = Policies(scoring, [policy], policy)
    write_policies(path, content)
    assert read_policies(path) == content
    assert sum('"damaged": 0' in line for line in path.read_text().splitlines()) == 3
    assert "step 2 of 5, 7 labels" in describe(content)
    written = json.loads(path.read_text())["policies"][0]["certificate"]
    assert list(written.items()) == list(CERTIFICATE.items())


@pytest.mark.parametrize("name", ["policies", "policies_int8"])
def test_policies_that_are_read_and_written_again_are_the_same_bytes(tmp_path, name):
    path = Path(__file__).resolve().parents[1] / f"metrics/{name}.json"
    write_policies(tmp_path / "again.json", read_policies(path))
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_a_certificate_for_time_and_one_of_a_route_keep_their_keys_in_order():
    costs = {"unit": "ms", "cumulative": [1.0, 2.0], "full": 1.5}
    search = {"route": "placed", "start": "auto", "cuts": 25, "placement": 0.5}
    content = {"without_dear_exits": True, "search": search, "costs": costs}
    steps = [{"thresholds": [None, "inf"], "samples_exit_1": 3, "correct_exit_1": 2, "p_value": 1.0}]
    written = Certificate.model_validate(CERTIFICATE | content | {"steps": steps}).to_json()
    keys = [*list(CERTIFICATE)[:11], "without_dear_exits", "search", *list(CERTIFICATE)[11:]]
    assert list(written) == keys
    assert [list(written[key].items()) for key in ("search", "costs")] == [list(search.items()), list(costs.items())]
    assert list(written["steps"][0].to_json().items()) == list(steps[0].items())


def test_a_certificate_is_frozen_and_its_costs_are_those_it_was_made_from():
    certificate = Certificate.model_validate(CERTIFICATE)
    with pytest.raises(ValidationError, match="frozen"):
        certificate.level = 0.2
    for costs in (from_parts("ms", [1, 2], [3, 4]), Costs("macs", np.array([1.0, 3.0]), 2.5)):
        again = CertificateCosts.of(costs).costs
        assert (again.unit, again.full) == (costs.unit, costs.full)
        assert again.cumulative.tolist() == costs.cumulative.tolist()


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"more": 1}, r"certificate\.more is not"),
        ({"n": "80"}, r"certificate\.n must be a whole number"),
        ({"costs": CERTIFICATE["costs"] | {"heads": 1}}, r"certificate\.costs\.heads is not"),
        ({"steps": CERTIFICATE["steps"] * 4000}, r"certificate\.steps must be .* at most 10000"),
        ({"steps": [{"thresholds": ["x"], "p_value": 1}]}, r'steps\.0\.thresholds\.0 must be a finite number, "inf"'),
        ({"steps": [{"thresholds": [10**400], "p_value": 1}]}, r"steps\.0\.thresholds\.0 must be a finite number"),
        ({"steps": [{"thresholds": [], "p_value": 1, "more": 1}]}, r"steps\.0\.counts\.more"),
        ({"steps": [{"thresholds": [], "p_value": 1, "a\nb": 1}]}, r"steps\.0\.counts\.a b"),
        ({"steps": [{"thresholds": [], "damaged": 1}]}, r"steps\.0\.p_value is missing"),
    ],
)
def test_a_certificate_of_another_shape_is_refused_in_one_line(file, change, where):
    content = json.loads(file.read_text())
    content["policies"][0]["certificate"] = CERTIFICATE | change
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=where) as error:
        read_policies(file)
    assert "\n" not in str(error.value)


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
