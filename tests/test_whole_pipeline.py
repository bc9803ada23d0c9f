"""The real stages, run once on small splits in a clone, the root pipeline by DVC: their outputs belong together."""

import json
import os
import runpy
import shutil
import subprocess
import sys

import pytest
from cases.pipelines import ROOT, commit, outputs, reproduce, run, stages
from cases.recomputation import require_recomputed_accuracies
from conftest import edit_params

SMALL = {
    "datasets.cluttered_digits.train": 256,
    "datasets.cluttered_digits.val": 200,
    "datasets.cluttered_digits.test": 200,
    "train.epochs": 1,
    "calibrate.methods": ["shared", "certified"],
    "calibrate.targets": [0.5, 0.9],
    "calibrate.max_loss": [0.01],
    "models.branchynet.channels": [4, 8, 8],
    "latency": {"batch_sizes": [1, 2], "repeats": 2},
    "benchmark.batch_sizes": [1, 2],
    "benchmark.repeats": 2,
    "benchmark.samples": 20,
    "benchmark.policies": ["selected"],
}
SMALL_STUDIES = {
    "depth": {"depth": {"neighbours": 5, "support": 100, "samples": 50}},
    "predictive_exit": {
        "predictive.cuts": 10,
        "predictive.permutations": 2,
        "predictive.max_loss": [0.02],
        "predictive.statistics": ["mean_max"],
    },
}


def in_process(clone, monkeypatch, script, *arguments):
    """Run a stage script as a plain script, in this process."""
    monkeypatch.chdir(clone)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    runpy.run_path(script, run_name="__main__")


OTHER_STAGES = [  # in the order of DVC, in one process: each would import torch again
    ("stages/host.py",),
    ("stages/export.py",),
    ("stages/quantise.py",),
    ("stages/latency.py",),
    ("stages/logits.py", "int8", "val"),
    ("stages/logits.py", "int8", "test"),
    ("stages/calibrate.py", "int8"),
    ("stages/evaluate.py", "int8"),
    ("stages/benchmark.py", "float32"),
    ("stages/benchmark.py", "int8"),
    ("studies/depth/probe.py",),
    ("studies/depth/measure.py",),
    ("studies/predictive_exit/compare.py",),
]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clone") / "offramp"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("results/", "tests/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    for key, value in SMALL.items():
        edit_params(folder / "params.yaml", key, value)
    for study, changes in SMALL_STUDIES.items():
        for key, value in changes.items():
            edit_params(folder / f"studies/{study}/params.yaml", key, value)
    run(folder, "git", "init", "-q")
    commit(folder)
    run(folder, "dvc", "repro")
    commit(folder)
    with pytest.MonkeyPatch.context() as patch:
        for script, *arguments in OTHER_STAGES:
            in_process(folder, patch, script, *arguments)
    return folder


def test_a_second_run_runs_nothing(clone):
    assert reproduce(clone) == set()


def test_every_declared_output_is_there_and_metrics_can_be_shown(clone):
    for stage in stages().values():
        for entry in outputs(stage):
            path = entry if isinstance(entry, str) else next(iter(entry))
            if "${" not in path:
                assert (clone / path).exists()
    figures = {path.stem for path in (clone / "plots/figures").iterdir()}
    of_samples = {"uncertainty", "gallery", "difficulty", "reliability"}
    assert figures == {"tradeoff", "guarantees", "classes", "exits", "sweep", "training"} | of_samples
    assert (clone / "plots/depth/depth.png").exists()
    shown = json.loads(run(clone, "dvc", "metrics", "show", "--json"))
    assert set(shown[""]["data"]) == {"metrics/summary.json", "metrics/training.json"}
    run(clone, "dvc", "plots", "show")


def test_accuracies_equal_a_recomputation_from_the_parquet_file(clone):
    require_recomputed_accuracies(clone)


def test_costs_and_policies_fit_the_network_that_was_trained(clone):
    costs = json.loads((clone / "metrics/costs.json").read_text())
    policies = json.loads((clone / "metrics/policies.json").read_text())
    assert list(costs["exits"]) == list(policies["temperature"]) == [f"exit_{k}" for k in range(1, 7)]
    assert sum(policy["selected"] for policy in policies["policies"]) == 1


def test_the_summary_repeats_the_evaluation_and_deployed_holds_the_selected_policy(clone):
    evaluation, summary, policies, deployed = (
        json.loads((clone / f"metrics/{name}.json").read_text())
        for name in ("evaluation", "summary", "policies", "deployed")
    )
    for method, targets in summary["policies"].items():
        for target, entry in targets.items():
            assert entry == {key: evaluation[method][target][key] for key in ("accuracy", "mac_ratio")}
    assert summary["full"] == evaluation["full"]
    assert summary["deployed"]["loss"] == evaluation["certified"]["0.01"]["loss"]
    selected = next(policy for policy in policies["policies"] if policy["selected"])
    assert deployed["policies"] == [{key: selected[key] for key in selected if key in deployed["policies"][0]}]
    assert not {"certificate", "validation"} & set(deployed["policies"][0])
    benchmark = json.loads((clone / "metrics/benchmark.json").read_text())
    digest = run(clone, "sha256sum", "metrics/deployed.json").split()[0]
    assert benchmark["about"]["deployed_sha256"] == digest


def test_figures_are_drawn_to_the_same_bytes_and_name_timings_of_other_policies(clone, monkeypatch, capsys):
    before = {path.name: path.read_bytes() for path in (clone / "plots/figures").iterdir()}
    deployed = clone / "metrics/deployed.json"
    text = deployed.read_text()
    in_process(clone, monkeypatch, "stages/figures.py")
    assert {path.name: path.read_bytes() for path in (clone / "plots/figures").iterdir()} == before
    assert "of another policy" not in capsys.readouterr().out
    deployed.write_text(text + " ")
    try:
        in_process(clone, monkeypatch, "stages/figures.py")
        assert "metrics/benchmark.json, metrics/int8.json; `dvc repro -P`" in capsys.readouterr().out
    finally:
        deployed.write_text(text)


def test_a_stage_is_also_a_plain_script_and_leaves_earlier_outputs_when_it_fails(clone, monkeypatch, capsys):
    policies = clone / "metrics/policies.json"
    before, params = policies.read_bytes(), (clone / "params.yaml").read_text()
    in_process(clone, monkeypatch, "stages/calibrate.py", "float32")
    assert policies.read_bytes() == before
    with pytest.raises(SystemExit, match="2"):
        in_process(clone, monkeypatch, "stages/calibrate.py", "float8")
    assert "give float32 or int8; got float8" in capsys.readouterr().err
    edit_params(clone / "params.yaml", "calibrate.targets", [1.5])
    try:
        with pytest.raises(SystemExit, match="2"):
            in_process(clone, monkeypatch, "stages/calibrate.py", "float32")
        told = capsys.readouterr().err
        assert told.count(os.linesep) == 1
        assert "calibrate.targets must be" in told
        assert policies.read_bytes() == before
    finally:
        (clone / "params.yaml").write_text(params)
