"""The check of certificates: what the library makes is confirmed, and whatever is altered afterwards is refuted."""

import ast
import copy
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cases.recheck import HEAD, SEGMENT, WANTED, draw
from cases.tampering import REFUSED, TAMPERINGS, certified

from offramp import check as package
from offramp.cache.reading import open_cache
from offramp.cache.writing import write_logits
from offramp.calibration import calibrate_cache
from offramp.calibration.certificates.chains import equal_change
from offramp.calibration.folds import Tune
from offramp.calibration.settings import Settings
from offramp.check import recheck
from offramp.check.claims import Claim
from offramp.check.rows import in_tune, read_rows
from offramp.policies.costs import from_parts
from offramp.policies.file import read_policies, write_policies
from offramp.project.errors import InputError


@pytest.fixture
def content(recheck_folder):
    return json.loads((recheck_folder / "paired.json").read_text())


def check(recheck_folder, tmp_path, content, val="val.parquet", costs="costs.json"):
    (tmp_path / "altered.json").write_text(json.dumps(content))
    return recheck(tmp_path / "altered.json", recheck_folder / val, recheck_folder / costs)


@pytest.mark.parametrize("name", ["plain", "other"])
def test_everything_that_is_calibrated_is_confirmed(recheck_folder, name):
    report = recheck(recheck_folder / f"{name}.json", recheck_folder / "val.parquet", recheck_folder / "costs.json")
    assert report.passed, report.text
    lines = report.text.splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"{method}@{target:g}" for method, target in WANTED]
    words = [line.partition(": ")[2] for line in lines]
    assert words[0] == "nothing to confirm, shared certifies nothing"
    assert words[2] == "nothing to confirm, it is infeasible"
    assert all(words[k].startswith("confirmed, ") and " steps, p = " in words[k] for k in (1, 3, 4))


@pytest.mark.parametrize("score", ["least_confidence", "margin", "energy"])
def test_other_scores_are_confirmed_without_a_costs_file(tmp_path, score):
    write_logits(tmp_path / "val.parquet", *draw(6, 600))
    settings = Settings([("certified", 0.03)], ("certified", 0.03), score=score, test="difference")
    policies = calibrate_cache(tmp_path / "val.parquet", from_parts("macs", SEGMENT, HEAD), settings)
    write_policies(tmp_path / "p.json", policies)
    report = recheck(tmp_path / "p.json", tmp_path / "val.parquet")
    assert report.passed, report.text
    assert policies.selected.feasible
    assert report.text.endswith("--costs compares them")


def test_labels_that_no_test_needed_may_be_given_later(recheck_folder, tmp_path):
    table = pq.read_table(recheck_folder / "val.parquet")
    answers = np.stack([np.stack(table[f"exit_{k}"].to_numpy()).argmax(axis=1) for k in (1, 2, 3)], axis=1)
    agree = (answers == answers[:, -1:]).all(axis=1)
    label = pa.array(table["label"].to_numpy(), pa.int64(), mask=agree)
    pq.write_table(table.set_column(table.schema.get_field_index("label"), "label", label), tmp_path / "val.parquet")
    settings = Settings([("certified", 0.03)], ("certified", 0.03))
    costs = from_parts("macs", SEGMENT, HEAD)
    write_policies(tmp_path / "p.json", calibrate_cache(tmp_path / "val.parquet", costs, settings))
    for val in (tmp_path / "val.parquet", recheck_folder / "val.parquet"):
        report = recheck(tmp_path / "p.json", val)
        assert report.passed, report.text


def test_labels_are_only_needed_where_answers_change(recheck_folder, tmp_path):
    table = pq.read_table(recheck_folder / "val.parquet")
    answers = np.stack([np.stack(table[f"exit_{k}"].to_numpy()).argmax(axis=1) for k in (1, 2, 3)], axis=1)
    label = np.where((answers == answers[:, -1:]).all(axis=1), -1, table["label"].to_numpy())
    label[-40:] = -1  # some that would be needed: the walk ends there
    column = pa.array([None if value < 0 else value for value in label.tolist()], pa.int64())
    pq.write_table(table.set_column(table.schema.get_field_index("label"), "label", column), tmp_path / "val.parquet")
    settings = Settings([("certified", 0.03)], ("certified", 0.03))
    costs = from_parts("macs", SEGMENT, HEAD)
    write_policies(tmp_path / "p.json", calibrate_cache(tmp_path / "val.parquet", costs, settings))
    report = recheck(tmp_path / "p.json", tmp_path / "val.parquet")
    assert report.passed, report.text
    assert "unlabelled" in certified(json.loads((tmp_path / "p.json").read_text()))["certificate"]["steps"][-1]


@pytest.mark.parametrize("reason", TAMPERINGS)
def test_whatever_is_altered_is_refuted(recheck_folder, tmp_path, content, reason):
    TAMPERINGS[reason](content)
    if reason in REFUSED:
        with pytest.raises(InputError, match=reason) as caught:
            check(recheck_folder, tmp_path, content)
        assert "\n" not in str(caught.value)
        return
    report = check(recheck_folder, tmp_path, content)
    assert not report.passed
    reasons = [text for verdict in report.verdicts for text in verdict.refuted]
    assert any(reason in text for text in reasons), reasons
    assert all("\n" not in verdict.line for verdict in report.verdicts)
    assert "REFUTED" in report.text


def test_a_level_that_is_not_divided_is_refuted(recheck_folder, tmp_path):
    content = json.loads((recheck_folder / "other.json").read_text())
    certified(content)["certificate"]["level"] = 0.1
    assert "its level is 0.1; delta 0.1 over 4 looks is 0.025" in check(recheck_folder, tmp_path, content).text


def test_certificates_on_other_terms_than_the_first_are_refuted(recheck_folder, tmp_path):
    content = json.loads((recheck_folder / "plain.json").read_text())
    last = content["policies"][-1]["certificate"]
    last.update(delta=0.2, level=0.2)
    assert "delta and level are (0.2, 0.2); the file's first certificate has (0.1, 0.1)" in _reasons(
        check(recheck_folder, tmp_path, content)
    )
    last["folds"]["fold_seed"] = 18
    assert "its folds are dealt by fold_seed 18" in _reasons(check(recheck_folder, tmp_path, content))


def _reasons(report):
    return "\n".join(text for verdict in report.verdicts for text in verdict.refuted)


def test_scorings_that_the_tune_fold_does_not_give_are_refuted(recheck_folder, tmp_path):
    content = json.loads((recheck_folder / "other.json").read_text())
    hotter, heavier = copy.deepcopy(content), copy.deepcopy(content)
    hotter["temperature"]["exit_1"] *= 1.001
    heavier["score_arguments"]["exit_2"]["weights"][0] += 0.01
    assert "temperature of exit_1" in check(recheck_folder, tmp_path, hotter).text
    assert "the weights of score 'change' differ" in check(recheck_folder, tmp_path, heavier).text


def test_other_labels_or_another_file_are_refuted(recheck_folder, tmp_path, content):
    logits, label = draw(5, 1500)
    rows = np.flatnonzero(~in_tune(np.arange(1500), 17, 0.2) & (logits[:, 0].argmax(1) != logits[:, 2].argmax(1)))
    label[rows[:40]] = (label[rows[:40]] + 1) % 4
    write_logits(tmp_path / "labels.parquet", logits, label)
    write_logits(tmp_path / "more.parquet", *draw(5, 1501))
    assert "the certify rows give damaged" in check(recheck_folder, tmp_path, content, tmp_path / "labels.parquet").text
    assert "rows; the rule deals" in check(recheck_folder, tmp_path, content, tmp_path / "more.parquet").text


def test_a_chain_shaped_by_the_certify_rows_is_refuted(recheck_folder, tmp_path, content):
    """All else is right: counts, p-values, and where the walk stops."""
    entry = certified(content)
    policies = read_policies(recheck_folder / "plain.json")
    rows = read_rows(open_cache(recheck_folder / "val.parquet"), policies)
    rows = rows.take(~in_tune(rows.sample, 17, 0.2))
    claim, steps = Claim("certified", 0.03, 0.1), []
    chain = equal_change(Tune(rows), from_parts("macs", SEGMENT, HEAD), "entropy")
    for candidate in chain:
        counts = claim.counts(rows, replace(policies.selected, thresholds=candidate.thresholds))
        stated = ["inf" if t == math.inf else t for t in candidate.thresholds]
        steps.append({"thresholds": stated, **counts, "p_value": claim.p_value(len(rows), counts)})
        if steps[-1]["p_value"] > 0.1:
            break
    entry["certificate"].update(steps=steps, returned=len(steps) - 1, declared=len(chain))
    entry["thresholds"] = dict(zip(entry["thresholds"], steps[-2]["thresholds"], strict=True))
    report = check(recheck_folder, tmp_path, content)
    verdict = next(verdict for verdict in report.verdicts if verdict.policy == entry["name"])
    assert any("derived from the tune fold" in text for text in verdict.refuted), verdict.line
    assert not any("summed again" in text or "certify rows give damaged" in text for text in verdict.refuted)


MALFORMED = {
    "steps": [[], [1], None, "x", [{"thresholds": [0.1, 0.2, "inf"]}], [{"thresholds": 3, "p_value": 0.1}]],
    "n": [-1, 2.5, "100", 10**30, None, True],
    "level": [0, 1, "0.1", -1, 1e-400],
    "looks": [0, -3, 1.5],
    "returned": [-1, "3"],
    "folds": [{}, {"fold_seed": 17}, []],
    "costs": [{}, {"full": 0}, {"full": 1, "segment": [1], "head": [1, 2]}, {"full": 1, "cumulative": [-1, 2, 3]}],
    "test": [None, 3],
    "assumptions": ["none"],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in MALFORMED.items() for value in values])
def test_a_malformed_certificate_gives_one_line(recheck_folder, tmp_path, content, key, value):
    certified(content)["certificate"][key] = value
    with pytest.raises(InputError) as caught:
        check(recheck_folder, tmp_path, content)
    assert "\n" not in str(caught.value)
    assert key in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"schema_version": NaN}', '{"schema_version": 1}'])
def test_a_file_that_is_no_policies_file_gives_one_line(recheck_folder, tmp_path, text):
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(InputError) as caught:
        recheck(tmp_path / "p.json", recheck_folder / "val.parquet")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [{"damaged": -1}, {"damaged": 1.5}, {"p_value": 2}, {"more": "x"}])
def test_a_malformed_step_gives_one_line(recheck_folder, tmp_path, content, change):
    certified(content)["certificate"]["steps"][0].update(change)
    with pytest.raises(InputError, match=r"steps\.0"):
        check(recheck_folder, tmp_path, content)


BY_HAND = {  # modules of the check, all of whose imports are named below, and what is there written a second time
    "rows.py": "folds",
    "claims.py": "counts, level",
    "p_values.py": "p-values",
    "steps.py": "stopping, choice",
    "fresh.py": "the claim on fresh rows",
}
FROM_CALIBRATION = {  # what makes chains and routes of the rows that it is handed
    "offramp.calibration.certificates.chains": {"FAMILIES"},
    "offramp.calibration.certified_per_exit": {"declare"},
    "offramp.calibration.certified_routes": {"declare"},
    "offramp.calibration.folds": {"Tune"},
    "offramp.calibration.routes": {"Routes"},
    "offramp.calibration.settings": {"RouteSettings"},
}


def test_what_a_certificate_rests_on_is_written_by_hand():
    """Folds, counts, p-values, level, stopping and choice have nothing in common with what makes certificates."""
    found = set()
    for path in Path(package.__file__).parent.glob("*.py"):
        found.add(path.name)
        for node in ast.walk(ast.parse(path.read_text())):
            assert not isinstance(node, ast.ImportFrom) or node.level == 0, f"{path.name} imports relatively"
            names = [alias.name for alias in getattr(node, "names", [])]
            if isinstance(node, ast.Import):
                assert not [name for name in names if name.startswith("offramp")], f"{path.name} imports {names} whole"
            if not isinstance(node, ast.ImportFrom):
                continue
            room = ".".join(node.module.split(".")[:2])
            assert room != "offramp.statistics" and node.module != "offramp.cache.folds", f"{path.name}: {node.module}"
            assert room != "offramp", f"{path.name} imports a room as a whole"
            if room == "offramp.calibration":
                assert path.name not in BY_HAND, f"{path.name} imports {node.module}"
                assert set(names) <= FROM_CALIBRATION.get(node.module, set()), f"{path.name} imports {names}"
    assert set(BY_HAND) < found


def test_the_check_needs_no_torch():
    code = "import sys, offramp.check; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_file_nested_too_deeply_gives_one_line_or_is_refuted(recheck_folder, tmp_path, content):
    deep = '{"a": ' * 500 + "1" + "}" * 500
    text = json.dumps(content)
    for key in ("validation", "certificate"):
        entry = certified(content)
        place = json.dumps(entry[key])
        assert place in text
        (tmp_path / "p.json").write_text(text.replace(place, deep))
        if key == "validation":
            assert (
                "validation mac_ratio is missing" in recheck(tmp_path / "p.json", recheck_folder / "val.parquet").text
            )
        else:
            with pytest.raises(InputError) as caught:
                recheck(tmp_path / "p.json", recheck_folder / "val.parquet")
            assert "\n" not in str(caught.value)
