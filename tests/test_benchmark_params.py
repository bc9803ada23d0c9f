import re
from pathlib import Path

import pytest
import yaml
from conftest import edit_params

from offramp.commands.main import main
from offramp.runtime.params import Benchmark, require_known

PARAMS = Path(__file__).resolve().parents[1] / "params.yaml"


def test_params_yaml_holds_the_documented_defaults():
    assert Benchmark().model_dump() == yaml.safe_load(PARAMS.read_text())["benchmark"]


def test_names_of_policies_that_will_exist_are_known():
    require_known(["selected", "full", "shared@0.9", "cutoff@0", "cutoff@.6", "cutoff@1e-3"], ["shared@0.9"])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("benchmark.engine", "tensorrt", r"benchmark.engine must be one of: .*onnx.*torch; got 'tensorrt'"),
        ("benchmark.batch_sizes", 1, r"benchmark.batch_sizes must be a non-empty list .*; got 1 \(write \[1\]\)"),
        ("benchmark.batch_sizes", [1, 0], "batch_sizes.1 must be a whole number, at least 1; got 0"),
        ("benchmark.batch_sizes", [64, 64], r"benchmark.batch_sizes must be without repeats; got \[64, 64\]"),
        ("benchmark.repeats", 0, "benchmark.repeats must be a whole number, at least 1; got 0"),
        ("benchmark.samples", 1.5, "benchmark.samples must be a whole number, at least 1; got 1.5"),
        ("benchmark.policies", [], "benchmark.policies must be a non-empty list of names"),
        ("benchmark.policies", "selected", "benchmark.policies must be a non-empty list of names"),
        ("benchmark.policies", ["shared@0.77"], r"calibrated \(per_exit@0.8, .*budget@0.7\).*; got 'shared@0.77'"),
        ("benchmark.policies", ["cutoff@-1"], r"cutoff@X with X nats, at least 0; got 'cutoff@-1'"),
        ("benchmark.policies", ["cutoff"], "got 'cutoff'"),
    ],
)
def test_a_bad_value_is_one_line_and_status_2(tmp_path, capsys, key, value, message):
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS.read_text())
    edit_params(path, key, value)
    assert main(["check", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error), error
