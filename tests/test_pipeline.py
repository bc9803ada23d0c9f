"""The pipeline as DVC runs it: dependencies cover the imports, and a change reruns what it touches and nothing else."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from conftest import edit_params
from recomputation import require_recomputed_accuracies

ROOT = Path(__file__).resolve().parents[1]
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
STAGES = {name: stage.get("do", stage) for name, stage in PIPELINE.items()}
ALWAYS = {"inputs", "host"}
ON_DEMAND = {"runtime/engines.py", "networks/__init__.py", "training/starting.py"}  # import what a name asks for


def imported_modules(file):
    """Our modules that a file imports when it is loaded, and where it runs others on demand those too.

    The package root is none: it only offers names on demand.
    """
    found = set()
    tree = ast.parse(file.read_text())
    on_demand = file.parent.name == "stages" or "/".join(file.parts[-2:]) in ON_DEMAND
    for node in ast.walk(tree) if on_demand else tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] != "offramp":
                continue
            for end in range(2, len(parts) + 1):
                base = ROOT / "src" / Path(*parts[:end])
                found |= {path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()}
    return found


def import_closure(file):
    seen, waiting = set(), {file}
    while waiting:
        path = waiting.pop()
        seen.add(path)
        waiting |= imported_modules(path) - seen
    return {str(path.relative_to(ROOT)) for path in seen}


@pytest.mark.parametrize("stage", sorted(set(STAGES) - ALWAYS))
def test_dependencies_are_exactly_the_modules_a_stage_imports(stage):
    declared = {path for path in STAGES[stage]["deps"] if path.endswith(".py")}
    assert declared == import_closure(ROOT / f"stages/{stage}.py")


@pytest.mark.parametrize("stage", sorted(name for name, stage in STAGES.items() if "params" in stage))
def test_a_stage_declares_every_section_it_reads(stage):
    """A section with defaults that dvc.yaml forgets would silently be the default."""
    text = (ROOT / f"stages/{stage}.py").read_text()
    if "class Params(StageParams):" in text:
        body = text.split("class Params(StageParams):")[1].split("\n\n\n")[0]
        sections = re.findall(r"^    (\w+):", body, re.MULTILINE)
    else:
        sections = ["uncertainty", "calibrate"]
    declared = {key.split(".")[0] for key in STAGES[stage]["params"]}
    assert set(sections) == declared


def run(folder, *command, status=0, **environment):
    bin_folder = str(Path(sys.executable).parent)
    variables = {name: value for name, value in os.environ.items() if not name.startswith("DVC_")}
    variables |= {"PATH": bin_folder + os.pathsep + os.environ["PATH"], "PYTHONPATH": str(folder / "src")} | environment
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def reproduce(folder):
    """Run the pipeline and return the stages that ran, without those that always do."""
    return set(re.findall(r"Running stage '([\w@]+)'", run(folder, "dvc", "repro"))) - ALWAYS


def restore(folder):
    run(folder, "git", "checkout", "--quiet", ".")
    run(folder, "dvc", "checkout", "--quiet")


def edit(folder, key, value):
    edit_params(folder / "params.yaml", key, value)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone with small splits, run once."""
    folder = tmp_path_factory.mktemp("clone") / "offramp"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    small = {"train": 256, "val": 200, "test": 200}
    for split, rows in small.items():
        edit(folder, f"datasets.cluttered_digits.{split}", rows)
    edit(folder, "train.epochs", 1)
    for key, values in {"methods": ["shared", "certified"], "targets": [0.5, 0.9], "max_loss": [0.01]}.items():
        edit(folder, f"calibrate.{key}", values)
    edit(folder, "models.branchynet_slim.channels", [2, 4, 4])
    edit(folder, "models.branchynet.channels", [4, 8, 8])
    edit(folder, "latency", {"batch_sizes": [1, 2], "repeats": 2})
    edit(folder, "depth", {"neighbours": 5, "support": 100, "samples": 50})
    for key, value in {"cuts": 10, "permutations": 2, "max_loss": [0.02], "statistics": ["mean_max"]}.items():
        edit(folder, f"predictive.{key}", value)
    edit(
        folder,
        "benchmark",
        {"batch_sizes": [1, 2], "repeats": 2, "samples": 20, "engine": "onnx", "policies": ["selected"]},
    )
    run(folder, "git", "init", "-q")
    commit(folder)
    run(folder, "dvc", "repro")
    commit(folder)
    return folder


def commit(folder):
    run(folder, "git", "add", "-A")
    run(folder, "git", "-c", "user.name=test", "-c", "user.email=test@example.com", "commit", "-qm", "small")


FLOAT32 = {"logits@val", "logits@test", "calibrate", "evaluate", "sweep", "reliability", "figures", "export"}
FLOAT32 |= {"probes", "depth", "predictive"}
INT8 = {"quantise", "logits_int8@val", "logits_int8@test", "calibrate_int8", "evaluate_int8"}
TIMED = {"latency", "benchmark", "benchmark_int8"}
EVERYTHING = {"prepare", "train", "costs"} | FLOAT32 | INT8 | TIMED
POLICIES = {"calibrate", "evaluate", "figures", "depth", "calibrate_int8", "evaluate_int8"}
POLICIES |= {"benchmark", "benchmark_int8"}
RERUNS = [  # the README's table; every run of DVC takes its time, so the long ones are slow tests
    ({"calibrate.targets": [0.1, 0.9], "calibrate.cost": "latency"}, POLICIES),
    ({"models.branchynet_slim.channels": [1, 1, 1], "datasets.folder.root": "elsewhere"}, set()),
]
SLOW_RERUNS = [
    ({"sweep.cutoffs": 7, "latency.repeats": 3}, {"sweep", "figures", "latency", "benchmark"}),
    ({"calibrate.targets": [0.1, 0.9]}, POLICIES),
    ({"calibrate.fold_seed": 18}, POLICIES | INT8 | TIMED | {"reliability", "predictive"}),
    ({"benchmark.samples": 10}, {"benchmark", "benchmark_int8"}),
    ({"depth.samples": 10}, {"probes", "depth", "figures"}),
    ({"train.epochs": 2}, EVERYTHING - {"prepare", "costs"}),
    ({"model.name": "branchynet_slim"}, EVERYTHING - {"prepare"}),
]
CASES = [*RERUNS, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW_RERUNS)]


@pytest.mark.parametrize(("changes", "stages"), CASES)
def test_a_changed_parameter_reruns_what_it_touches(clone, changes, stages):
    for key, value in changes.items():
        edit(clone, key, value)
    assert reproduce(clone) == stages
    restore(clone)


def drawn(folder):
    return {path.name: path.read_bytes() for path in (folder / "plots/figures").iterdir()}


def test_an_edited_plotting_module_redraws_figures_to_the_same_bytes_and_nothing_else(clone):
    before = drawn(clone)
    path = clone / "src/offramp/figures/tradeoff.py"
    path.write_text(path.read_text() + "\n# edited\n")
    assert reproduce(clone) == {"figures"}
    assert drawn(clone) == before
    restore(clone)


def test_a_second_run_runs_nothing_but_the_always_run_stages(clone):
    assert reproduce(clone) == set()
    plan = run(clone, "dvc", "repro", "--dry", "--allow-missing")
    assert set(re.findall(r"Running stage '([\w@]+)'", plan)) == ALWAYS


def test_every_declared_output_is_there_and_metrics_can_be_shown(clone):
    for stage in STAGES.values():
        for kind in ("outs", "metrics", "plots"):
            for entry in stage.get(kind, []):
                path = entry if isinstance(entry, str) else next(iter(entry))
                if "${" not in path:
                    assert (clone / path).exists()
    figures = {path.stem for path in (clone / "plots/figures").glob("*.png")}
    of_samples = {"uncertainty", "gallery", "difficulty", "reliability"}
    assert figures == {"tradeoff", "guarantees", "classes", "exits", "sweep", "training", "depth"} | of_samples
    assert "accuracy" in run(clone, "dvc", "metrics", "show")
    run(clone, "dvc", "plots", "show")


def test_accuracies_equal_a_recomputation_from_the_parquet_file(clone):
    require_recomputed_accuracies(clone)


def test_costs_and_policies_fit_the_network_that_was_trained(clone):
    costs = json.loads((clone / "metrics/costs.json").read_text())
    policies = json.loads((clone / "metrics/policies.json").read_text())
    assert list(costs["exits"]) == list(policies["temperature"]) == [f"exit_{k}" for k in range(1, 7)]
    assert sum(policy["selected"] for policy in policies["policies"]) == 1


def test_a_stage_is_also_a_plain_script_and_leaves_earlier_outputs_when_it_fails(clone):
    policies = clone / "metrics/policies.json"
    before, params = policies.read_bytes(), (clone / "params.yaml").read_text()
    run(clone, sys.executable, "stages/calibrate.py")
    assert policies.read_bytes() == before
    edit(clone, "calibrate.targets", [1.5])
    try:
        output = run(clone, sys.executable, "stages/calibrate.py", status=2)
        assert output.count("\n") == 1
        assert "calibrate.targets must be" in output
        assert policies.read_bytes() == before
    finally:
        (clone / "params.yaml").write_text(params)
