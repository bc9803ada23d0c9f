"""Policies for measured time in other hands: what is refused, what a check makes of them, and the commands."""

import copy
import json

import pytest
from cases.latency import entry_of, latency

from offramp.check import recheck
from offramp.commands.main import main
from offramp.policies.file import read_policies
from offramp.project.errors import InputError
from offramp.project.files import write_json
from offramp.runtime.benchmark.session import read_times


@pytest.fixture
def content(latency_folder):
    return json.loads((latency_folder / "p.json").read_text())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(unit="macs"), "its unit must be ms, and is macs"),
        (lambda c: c.update(unit="s"), "unit is 's', not macs or ms"),
        (lambda c: c.update(engine="abacus"), "engine is 'abacus', not one of onnx, onnx_int8, torch"),
        (lambda c: c.update(batch_size=0), "batch_size is 0, not a whole number, at least 1"),
        (lambda c: c["exits"].pop("exit_4"), "cost has 3 exits, the policies have 4"),
        (lambda c: c["exits"]["exit_2"].pop("head"), "neither segment and head nor cumulative"),
        (lambda c: c.pop("exits"), "exits is missing"),
    ],
)
def test_a_broken_cost_entry_is_refused_in_one_line(content, tmp_path, change, message):
    altered = copy.deepcopy(content)
    change(altered["cost"])
    (tmp_path / "p.json").write_text(json.dumps(altered))
    with pytest.raises(InputError, match=message) as error:
        read_policies(tmp_path / "p.json")
    assert "\n" not in str(error.value)


def test_certificates_for_time_are_derived_again(latency_folder):
    report = recheck(latency_folder / "p.json", latency_folder / "val.parquet", latency_folder / "latency.json")
    assert report.passed, report.text
    assert report.text.count("confirmed, ") == 4  # three certificates and the figures of method batch


def _other_head(content):
    content["cost"]["exits"]["exit_2"]["head"] = 0.1


def _other_certificate_head(content):
    entry_of(content, "certified")["certificate"]["costs"]["head"][1] = 0.1


def _every_exit(content):
    entry_of(content, "certified")["certificate"]["without_dear_exits"] = False


def _macs(content):
    del entry_of(content, "certified")["certificate"]["costs"]["unit"]


def _ratio(content):
    entry_of(content, "certified")["validation"]["latency_ratio"] *= 0.9


def _name(content):
    validation = entry_of(content, "certified")["validation"]
    validation["mac_ratio"] = validation.pop("latency_ratio")


@pytest.mark.parametrize(
    ("alter", "reason"),
    [
        (_other_head, "and those under cost"),
        (_other_certificate_head, "and those under cost"),
        (_every_exit, "leave out the exits that cost more than they save"),
        (_macs, "its costs are in macs, those of the file in ms"),
        (_ratio, "validation latency_ratio is"),
        (_name, "validation latency_ratio is missing"),
    ],
)
def test_what_was_altered_afterwards_is_refuted(latency_folder, content, tmp_path, alter, reason):
    alter(content)
    (tmp_path / "p.json").write_text(json.dumps(content))
    report = recheck(tmp_path / "p.json", latency_folder / "val.parquet")
    assert not report.passed
    assert any(reason in found for verdict in report.verdicts for found in verdict.refuted), report.text


def test_other_times_than_those_of_the_file_are_refuted_and_other_units_refused(latency_folder, tmp_path):
    altered = latency()
    altered["onnx"]["batch_1"]["exits"]["exit_2"]["head"] = 8.0
    (tmp_path / "latency.json").write_text(json.dumps(altered))
    report = recheck(latency_folder / "p.json", latency_folder / "val.parquet", tmp_path / "latency.json")
    assert "and the file's (" in report.text
    assert not report.passed
    with pytest.raises(InputError, match=r"costs.json holds costs in macs; the policies were calibrated for ms"):
        recheck(latency_folder / "p.json", latency_folder / "val.parquet", latency_folder / "costs.json")
    del altered["onnx"]
    (tmp_path / "latency.json").write_text(json.dumps(altered))
    with pytest.raises(InputError, match="has no times of onnx, batch 1; it has torch batch 1"):
        recheck(latency_folder / "p.json", latency_folder / "val.parquet", tmp_path / "latency.json")


def test_the_commands_take_either_file(latency_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cache = ["--val", str(latency_folder / "val.parquet"), "--costs", str(latency_folder / "latency.json")]
    chosen = ["--set", "calibrate.max_loss=[0.1]", "--set", "calibrate.select.target=0.1"]
    assert main(["calibrate", *cache, *chosen, "--set", "calibrate.latency.engine=torch", "--out", "p.json"]) == 0
    assert "of the full network's time (torch, batch 1)" in capsys.readouterr().out
    assert main(["check", "p.json", *cache]) == 0
    assert "certified@0.1: confirmed" in capsys.readouterr().out
    assert main(["labels", *cache, *chosen, "--out", "rows.csv"]) == 0
    capsys.readouterr()
    test = ["evaluate", "--test", str(latency_folder / "test.parquet"), "--policies", "p.json", "--out", "e.json"]
    assert main([*test, "--costs", str(latency_folder / "costs.json")]) == 0
    out = capsys.readouterr().out
    assert "share of time, modelled" in out
    assert "share of MACs" in out
    assert main([*test, "--costs", str(latency_folder / "latency.json")]) == 0
    assert "times of torch, batch 1, from" in capsys.readouterr().out
    result = json.loads((tmp_path / "e.json").read_text())
    assert result["full"]["ms"] == pytest.approx(10.2)
    assert not {"mmacs", "mac_ratio", "speedup"} & set(result["budget"]["0.3"])


def test_policies_for_macs_are_timed_at_the_documented_default(latency_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cache = ["--val", str(latency_folder / "val.parquet"), "--costs", str(latency_folder / "costs.json")]
    assert main(["calibrate", *cache, "--out", "p.json"]) == 0
    test = ["evaluate", "--test", str(latency_folder / "test.parquet"), "--policies", "p.json", "--out", "e.json"]
    assert main([*test, "--costs", str(latency_folder / "latency.json")]) == 0
    assert "times of onnx, batch 1, from" in (out := capsys.readouterr().out)
    assert "(the default row: the policies name none)" in out


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("engine: onnx_int8", "no times of onnx_int8, batch 1; it has onnx batch 1"),
        ("batch_size: 8", "no times of onnx, batch 8"),
        ("engine: abacus", "calibrate.latency.engine must be one of: onnx, onnx_int8, torch; got 'abacus'"),
        ("batch_size: 0", "calibrate.latency.batch_size must be a whole number, at least 1; got 0"),
        ("size: 1", "calibrate.latency.size is not a parameter"),
    ],
)
def test_a_wrong_row_is_one_line_and_status_2(latency_folder, tmp_path, monkeypatch, capsys, value, message):
    monkeypatch.chdir(tmp_path)
    cache = ["--val", str(latency_folder / "val.parquet"), "--costs", str(latency_folder / "latency.json")]
    assert main(["calibrate", *cache, "--set", f"calibrate.latency={{{value}}}", "--out", "p.json"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_rows_of_latency_are_read_by_batch_size_and_another_engine_has_none(tmp_path):
    path = tmp_path / "latency.json"
    rows = {
        "exit_1": {"segment": 1.0, "head": 0.5, "cumulative": 1.5},
        "exit_2": {"segment": 2, "head": 1, "cumulative": 4.5},
    }
    write_json(
        path, {"unit": "ms", "threads": 2, "onnx": {f"batch_{n}": {"exits": rows, "full": 4.0} for n in (16, 4)}}
    )
    assert list(read_times(path, "onnx")) == [4, 16]
    assert read_times(path, "onnx")[4].full == 4.0
    assert read_times(path, "torch") == {}
    with pytest.raises(InputError, match="`dvc repro -P` writes it"):
        read_times(tmp_path / "none.json", "onnx")
