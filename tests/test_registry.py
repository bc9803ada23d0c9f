"""A new score and a new method: a module each, with one line of registration, and every command works with them."""

import importlib
import json
import sys

import numpy as np
import pytest
from cases.bundles import CLASSES, EXITS, some_images, tiny_graph

from offramp.cache.reading import open_cache
from offramp.cache.writing import write_logits
from offramp.calibration.methods import CALIBRATORS
from offramp.commands.main import main
from offramp.evaluation.results import evaluate_policies, read_test, write_tables
from offramp.evaluation.tables import write_uncertainty
from offramp.figures.exits import draw_exits
from offramp.figures.guarantees import draw_guarantees
from offramp.figures.style import label_of, read_selected
from offramp.figures.tradeoff import draw_tradeoff
from offramp.figures.uncertainty import draw_uncertainty
from offramp.policies.costs import read_costs, write_costs
from offramp.policies.file import read_policies
from offramp.policies.methods import METHODS, Method
from offramp.policies.methods import register as register_method
from offramp.policies.outcomes import read_outcomes
from offramp.policies.replay import exits_of
from offramp.runtime.bundle import load
from offramp.runtime.bundle.writing import write_bundle
from offramp.runtime.engines.onnx import OnnxEngine
from offramp.runtime.latency import timed_scoring
from offramp.scores.registry import SCORES, Score, register

SCORE = """
from offramp.scores.registry import Score, register

def spread(logits):
    return logits.mean(axis=-1) - logits.max(axis=-1)

def graph(build, at, fitted):
    return build.node("Sub", build.total("ReduceMean", at.scaled), build.total("ReduceMax", at.scaled))

register(Score("spread", "mean logit less the largest", spread{graph}))
"""
METHOD = """
import math
import numpy as np
from offramp.calibration.methods import register
from offramp.policies.methods import Method
from offramp.policies.policy import Policy

def half(problem, target):
    side = problem.outcomes.uncertainty[:, :-1]
    return Policy((*np.quantile(side, target, axis=0).tolist(), math.inf))

register(Method("half", "targets", "accuracy", "a share of the samples at each exit"), half)
"""
N = 240


@pytest.fixture(params=["", ", graph=graph"], ids=["without a graph", "with a graph"])
def registered(request, tmp_path, monkeypatch):
    """Register both, in modules of their own; they are gone afterwards."""
    (tmp_path / "new_score.py").write_text(SCORE.format(graph=request.param))
    (tmp_path / "new_method.py").write_text(METHOD)
    monkeypatch.syspath_prepend(tmp_path)
    modules = [importlib.import_module(name) for name in ("new_score", "new_method")]
    yield bool(request.param)
    for module in modules:
        del sys.modules[module.__name__]
    for registry, name in ((SCORES, "spread"), (METHODS, "half"), (CALIBRATORS, "half")):
        del registry[name]


@pytest.fixture
def calibrated(registered, tmp_path, monkeypatch):
    """Write the caches of a tiny network and its costs, and calibrate on the command line."""
    monkeypatch.chdir(tmp_path)
    logits = OnnxEngine(tiny_graph().model, threads=2).exit_logits(some_images(N))
    label = np.arange(N) % len(CLASSES)
    for name in ("val", "test"):
        write_logits(tmp_path / f"{name}.parquet", logits, label, CLASSES)
    write_costs(tmp_path / "costs.json", EXITS, [100] * 6, [5] * 6)
    wanted = ["calibrate.methods=[half, certified]", "calibrate.targets=[0.4]", "calibrate.max_loss=[0.3]"]
    wanted += ["uncertainty.score=spread", "calibrate.select={method: half, target: 0.4}"]
    sets = [part for key in wanted for part in ("--set", key)]
    assert main(["calibrate", "--val", "val.parquet", "--costs", "costs.json", "--out", "p.json", *sets]) == 0
    return registered


@pytest.mark.usefixtures("calibrated")
def test_a_new_score_and_method_are_calibrated_checked_evaluated_and_drawn(tmp_path, capsys):
    content = json.loads((tmp_path / "p.json").read_text())
    assert content["score"] == "spread" and [p["name"] for p in content["policies"]] == ["half@0.4", "certified@0.3"]
    assert main(["check", "p.json"]) == 0
    assert "* half@0.4" in capsys.readouterr().out
    assert main(["check", "p.json", "--val", "val.parquet", "--costs", "costs.json"]) == 0
    assert "certified@0.3" in capsys.readouterr().out
    arguments = ["--test", "test.parquet", "--costs", "costs.json", "--policies", "p.json", "--out", "e.json"]
    assert main(["evaluate", *arguments]) == 0
    entry = json.loads((tmp_path / "e.json").read_text())["half"]["0.4"]
    assert entry["meets_target"] == (entry["accuracy"] >= 0.4)
    policies, costs = read_policies(tmp_path / "p.json"), read_costs(tmp_path / "costs.json")
    outcomes = read_test(tmp_path / "test.parquet", policies, costs)
    report = evaluate_policies(policies, outcomes, costs)
    write_tables(tmp_path, report)
    for name, draw in (("tradeoff", draw_tradeoff), ("exits", draw_exits), ("guarantees", draw_guarantees)):
        draw(tmp_path / "figures", tmp_path / f"{name}.csv")
    write_uncertainty(tmp_path / "uncertainty.csv", outcomes, policies)
    selected = read_selected(tmp_path / "tradeoff.csv", tmp_path / "guarantees.csv")
    draw_uncertainty(tmp_path / "figures", tmp_path / "uncertainty.csv", selected)
    assert (selected.method, selected.target, selected.certified) == ("half", 0.4, False)
    drawn = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    assert drawn == {"tradeoff", "exits", "guarantees", "uncertainty"}
    assert label_of("half") == "half: a share of the samples at each exit"


def test_a_new_score_is_exported_with_or_without_a_graph_and_answers_as_replay_does(calibrated, tmp_path):
    policies = read_policies(tmp_path / "p.json")
    write_bundle(tmp_path / "b", tiny_graph(), policies.selected)
    bundle = load(tmp_path / "b")
    outputs = [tensor.name for tensor in bundle.manifest.pieces[0].outputs]
    assert ("uncertainty" in outputs) == calibrated and ("logits_1" in outputs) != calibrated
    answers = bundle(some_images(N))
    outcomes = read_outcomes(open_cache(tmp_path / "test.parquet"), policies.scoring)
    assert answers.exit.tolist() == exits_of(outcomes, policies.selected).tolist()
    assert len(set(answers.exit.tolist())) > 3
    rows = np.arange(N)
    np.testing.assert_allclose(answers.uncertainty, outcomes.uncertainty[rows, answers.exit], rtol=1e-4)
    assert timed_scoring("spread", EXITS, 3).score == "spread"


@pytest.mark.usefixtures("registered")
def test_parameters_and_help_name_what_is_registered(capsys):
    with pytest.raises(SystemExit):
        main(["calibrate", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "half (a share of the samples at each exit)" in told and "activation, spread" in told


def test_a_name_is_registered_once_and_a_record_is_whole():
    with pytest.raises(ValueError, match="there is a score 'entropy' already"):
        register(Score("entropy", "nats", np.sum))
    with pytest.raises(ValueError, match="needs a formula, or fit, from_json and placeholder"):
        Score("nothing", "nats")
    with pytest.raises(ValueError, match="there is a method 'shared' already"):
        register_method(Method("shared", "targets", "accuracy", "again"))
    with pytest.raises(ValueError, match="needs targets of targets, max_loss, budgets and a measure of accuracy"):
        Method("wild", "limits", "accuracy", "no such list")
