"""What dvc.yaml says: dependencies cover the imports, and a change reruns what it touches and nothing else.

Which stages a change reruns is DVC's work and is tried with stub commands that digest what their stages declare; that
the real stages work together is `test_whole_pipeline.py`.
"""

import re
from itertools import chain

import pytest
from cases.pipelines import (
    ALWAYS,
    FILES,
    ROOT,
    commit,
    import_closure,
    is_docstring,
    reproduce_here,
    run,
    script_of,
    stub_checkout,
)
from cases.pipelines import stages as all_stages
from conftest import edit_params

from offramp.project.declared import declared_params
from offramp.project.errors import InputError
from offramp.project.yaml import read_yaml

STAGES = all_stages()
CODE = ("src/", "stages/", "studies/")


@pytest.mark.parametrize("name", [name for name, stage in STAGES.items() if "deps" in stage])
def test_dependencies_are_the_rooms_that_a_stage_imports(name):
    stage = STAGES[name]
    declared = {dep for dep in stage["deps"] if dep.startswith(CODE) and not dep.endswith(".yaml")}
    imported = {path for path in import_closure(script_of(stage)) if not is_docstring(path)}
    missing = {path for path in imported if not any(path == dep or path.startswith(f"{dep}/") for dep in declared)}
    unused = {dep for dep in declared if not any(path == dep or path.startswith(f"{dep}/") for path in imported)}
    assert (missing, unused) == (set(), set())
    files = {dep for dep in declared if dep.startswith("src/") and dep.endswith(".py")}
    assert all(dep.endswith("/params.py") for dep in files), "of another room, parameters alone"


@pytest.mark.parametrize("name", [name for name, stage in STAGES.items() if "params" in stage])
def test_a_stage_reads_every_section_it_declares_and_no_other(name):
    """A section with defaults that dvc.yaml forgets would silently be the default."""
    text = script_of(STAGES[name]).read_text()
    body = text.split("class Params(")[1].split("\n\n\n")[0] if "class Params(" in text else ""
    sections = set(re.findall(r"^    (\w+):", body, re.MULTILINE))
    if "class Params(Calibration)" in text:
        sections |= {"uncertainty", "calibrate"}
    groups = ([entry] if isinstance(entry, str) else chain(*entry.values()) for entry in STAGES[name]["params"])
    keys = {key for group in groups for key in group}
    assert sections == {key.split(".")[0] for key in keys}


def test_no_stage_of_the_root_pipeline_depends_on_an_output_of_another():
    """DVC runs ancestors from other files too: one such arrow would time again at every new target."""
    outputs = {"": set(), "other": set()}
    for file in FILES:
        for entry in read_yaml(ROOT / file)["stages"].values():
            for kind in ("outs", "metrics", "plots"):
                for out in {**entry, **entry.get("do", {})}.get(kind, []):
                    path = out if isinstance(out, str) else next(iter(out))
                    outputs["" if file == "dvc.yaml" else "other"].add(path)
    for name, stage in STAGES.items():
        if ":" not in name:
            assert not set(stage.get("deps", [])) & outputs["other"]


def test_a_stage_is_given_what_it_declares_and_nothing_else(monkeypatch, tmp_path):
    (tmp_path / "params.yaml").write_text("seed: 017\nrate: 1e-3\nmodel: {name: b}\nmodels: {a: {x: 1}, b: {x: 2}}\n")
    (tmp_path / "more.yaml").write_text("study: {n: 3, m: 4}\n")
    (tmp_path / "dvc.yaml").write_text(
        """\
stages:
  one: {params: [seed, rate, "models.${model.name}", {more.yaml: [study.n]}]}
  many: {foreach: [p, q], do: {params: [model.name]}}
  wrong: {params: [nothing.there]}
"""
    )
    monkeypatch.chdir(tmp_path)
    expected = {"seed": 17, "rate": 0.001, "models": {"b": {"x": 2}}, "study": {"n": 3}}
    assert declared_params("one") == expected
    assert declared_params("many@q") == {"model": {"name": "b"}}
    for stage, told in (("wrong", "nothing.there, which does not exist"), ("none", "no stage 'none'")):
        with pytest.raises(InputError, match=told):
            declared_params(stage)


def of(file, *names):
    return {f"{file}:{name}" for name in names}


DEPLOYMENT, DEPTH, ROUTES = "deployment/dvc.yaml", "studies/depth/dvc.yaml", "studies/predictive_exit/dvc.yaml"
ON_TARGET = {
    "calibrate",
    "evaluate",
    "figures",
    *of(DEPLOYMENT, "calibrate@int8", "evaluate@int8"),
    *of(DEPTH, "measure"),
}
TIMED = of(DEPLOYMENT, "latency", "benchmark", "benchmark_int8")
ON_POLICY = ON_TARGET | of(DEPLOYMENT, "benchmark", "benchmark_int8")
INT8 = of(DEPLOYMENT, "quantise", "logits@int8-val", "logits@int8-test", "calibrate@int8", "evaluate@int8")
STUDIES = of(DEPTH, "probe", "measure") | of(ROUTES, "compare")
LOGITS = {"logits@val", "logits@test"}
TRAINED = {"train", *LOGITS, "calibrate", "evaluate", "sweep", "reliability", "figures"}
TRAINED |= INT8 | TIMED | STUDIES | of(DEPLOYMENT, "export")
EVERYTHING = TRAINED | {"prepare", "costs"}
RERUNS = [  # what changes, one after the other, and which stages run
    ({"calibrate.targets": [0.1, 0.9]}, ON_TARGET),
    ({"calibrate.select.target": 0.02}, ON_POLICY),
    ({"models.branchynet_slim.channels": [1, 1, 1], "datasets.folder.root": "x"}, set()),
    ({"sweep.cutoffs": 7, "latency.repeats": 3}, {"sweep", "figures", *of(DEPLOYMENT, "latency", "benchmark")}),
    ({"calibrate.fold_seed": 18}, ON_POLICY | INT8 | TIMED | {"reliability"} | of(ROUTES, "compare")),
    ({"benchmark.samples": 10}, of(DEPLOYMENT, "benchmark", "benchmark_int8")),
    ({"model.name": "branchynet_slim"}, TRAINED | {"costs"}),
]
EDITS = [
    ("src/offramp/figures/room.py", {"figures"} | TIMED | of(DEPTH, "measure") | of(ROUTES, "compare")),
    ("src/offramp/calibration/room.py", ON_POLICY | of(ROUTES, "compare")),
    ("studies/depth/figures.py", of(DEPTH, "measure")),
]


def test_a_change_reruns_what_it_touches_and_nothing_else(tmp_path):
    """All in one checkout, as every run of DVC takes seconds: a change is that against the case before."""
    folder = stub_checkout(tmp_path)
    assert reproduce_here(folder, all_pipelines=True) == EVERYTHING
    assert reproduce_here(folder, all_pipelines=True) == set()
    commit(folder)
    plan = run(folder, "dvc", "repro", "-P", "--dry", "--allow-missing")
    assert set(re.findall(r"Running stage '([^']+)'", plan)) == ALWAYS
    for changes, expected in RERUNS:
        for key, value in changes.items():
            edit_params(folder / "params.yaml", key, value)
        assert (changes, reproduce_here(folder, all_pipelines=True)) == (changes, expected)
    edit_params(folder / "params.yaml", "calibrate.targets", [0.3])
    assert reproduce_here(folder) == {"calibrate", "evaluate", "figures"}, "plain repro runs the root pipeline alone"
    reproduce_here(folder, all_pipelines=True)
    for edited, expected in EDITS:
        path = folder / edited
        path.write_text(path.read_text() + "# edited\n")
        assert (edited, reproduce_here(folder, all_pipelines=True)) == (edited, expected)
    edit_params(folder / "params.yaml", "calibrate.cost", "latency")
    assert reproduce_here(folder, all_pipelines=True) == ON_POLICY
    setting = "studies/depth/params.yaml:depth.samples=10"
    text = run(folder, "dvc", "exp", "run", "-P", "-S", setting)
    assert set(re.findall(r"Running stage '([^']+)'", text)) - ALWAYS == of(DEPTH, "probe", "measure")
    assert "samples: 10" in (folder / "studies/depth/params.yaml").read_text()
