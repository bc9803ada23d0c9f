"""Certificates of routes: confirmed, refuted where something was altered, and valid at the boundary."""

import copy
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from cases.graded import graded_logits
from cases.route_policies import (
    CLASSES,
    COSTS,
    EXITS,
    NAMES,
    STRENGTH,
    WITH,
    arguments,
    entry,
    everything,
)

from offramp.calibration.certificates.claims import LossClaim
from offramp.calibration.certificates.sequence import in_sequence
from offramp.calibration.certified_routes import declare
from offramp.calibration.folds import Certify
from offramp.calibration.routes import Routes
from offramp.check import recheck
from offramp.commands.main import main
from offramp.policies.file import read_policies
from offramp.policies.outcomes import Outcomes, observe
from offramp.policies.policy import Policy
from offramp.policies.replay import replay
from offramp.policies.routes.routes import Predictive
from offramp.policies.routes.rule import RouteRule, joint_look


@pytest.fixture(scope="module")
def policies(route_policies):
    return read_policies(route_policies / "p.json")


def test_the_check_confirms_every_route_and_the_command_line_agrees(route_policies, capsys):
    report = recheck(route_policies / "p.json", route_policies / "val.parquet", route_policies / "costs.json")
    assert report.passed, report.text
    assert "certified_predictive@0.05: confirmed" in report.text
    assert "certified_learned@0.05: confirmed" in report.text
    assert "random_jump@0.8: confirmed, its figures" in report.text
    assert main(["check", str(route_policies / "p.json"), "--fresh", str(route_policies / "test.parquet")]) == 0
    assert "predictive@0.8 has no certificate" in capsys.readouterr().out


def _other_start(content):
    """Start elsewhere, consistently, as somebody would who had looked at the certify rows."""
    found = entry(content, "certified_predictive")
    found["arguments"]["start"] += 1
    first = f"exit_{found['arguments']['start'] - 1}"
    found["thresholds"][first] = None
    for step in found["certificate"]["steps"]:
        step["thresholds"][int(first[5:]) - 1] = None


def _next_cut(content):
    found = entry(content, "certified_predictive")
    certificate = found["certificate"]
    certificate["returned"] += 1
    step = certificate["steps"][-1]
    step["p_value"] = 0.09
    found["thresholds"] = dict(zip(NAMES, step["thresholds"], strict=True))
    found["arguments"]["cut"] = next(t for t in step["thresholds"] if t is not None)


def _other_weight(content):
    models = entry(content, "certified_learned")["arguments"]["models"]
    next(iter(models.values()))["weights"][0][0] += 0.01


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_other_start, "it starts at exit_"),
        (_next_cut, "states p = 0.09"),
        (_other_weight, "its learned costs differ by up to 0.01 from a fit"),
        (arguments("certified_learned", fitted_cut=-9.0), "it was fitted for the cut -9"),
        (lambda c: c["score_arguments"]["thresholds"].update(exit_2=1.0), "T of exit_2 by mean_max is 1"),
        (lambda c: entry(c, "random_jump")["arguments"].update(seed=18), "validation "),
        (lambda c: entry(c, "certified_predictive")["certificate"]["search"].update(cuts=26), "declared "),
        (lambda c: entry(c, "certified_predictive")["certificate"].pop("search"), "was chosen from on the tune fold"),
    ],
)
def test_the_check_refutes_what_was_altered(route_policies, tmp_path, change, reason):
    content = copy.deepcopy(json.loads((route_policies / "p.json").read_text()))
    content["policies"] = [
        each
        for each in content["policies"]
        if each["method"] in ("predictive", "random_jump", "certified_predictive", "certified_learned")
    ]
    for each in content["policies"]:
        if "certificate" in each:
            several = each["certificate"]
            several["looks"] = 2
            several["several"] = several["several"].replace("one of 5", "one of 2").replace("0.5 (", "0.8 (")
    (tmp_path / "p.json").write_text(json.dumps(content))
    assert recheck(tmp_path / "p.json", route_policies / "val.parquet").passed
    change(content)
    (tmp_path / "p.json").write_text(json.dumps(content))
    assert reason in recheck(tmp_path / "p.json", route_policies / "val.parquet").text


def test_at_the_boundary_a_route_is_certified_no_oftener_than_delta(route_policies, policies):
    """The true loss of every step of a fixed chain is known on a large population; certify folds are drawn from it."""
    logits, label = graded_logits(11, 8000, STRENGTH)
    scoring, delta, draws = policies.scoring, 0.1, 150
    population = _population(logits, label, scoring)
    tune = everything(scoring, route_policies / "val.parquet").take(np.arange(200))
    chain = declare(Routes(tune, tune, COSTS, WITH), "predictive", 0.05)
    losses = [_loss(population, rule) for rule in chain]
    place = next(place for place, loss in enumerate(losses) if loss >= 0.05)
    assert all(loss < losses[place] for loss in losses[:place])
    target = losses[place]  # this step is exactly not allowed: returning it is an error
    order = [Policy(rule.thresholds(EXITS), rule, method="any", target=0.5) for rule in chain[place - 1 : place + 1]]
    rng, wrong, certified = np.random.default_rng(2), 0, 0
    for _ in range(draws):
        claim = LossClaim(Certify(population.take(rng.integers(0, len(population), 600))), target, "score", 1e-4)
        found = in_sequence((claim.step(each) for each in order), delta)
        wrong += found.rejected == 2
        certified += found.rejected >= 1
    assert 0 < wrong <= draws * delta + 3 * math.sqrt(draws * delta * (1 - delta))
    assert certified > wrong


@pytest.mark.parametrize("max_loss", [0.01, 0.1])  # 0.1: the cut that is best for every_exit keeps no placed exit
def test_a_certified_placement_is_the_cheapest_of_all_on_the_tune_fold(route_policies, policies, max_loss):
    tune = everything(policies.scoring, route_policies / "val.parquet").take(np.arange(200))
    routes = Routes(tune, tune, COSTS, replace(WITH, placement=0.8))
    chain = declare(routes, "placed", max_loss)

    def paid(rule):
        return replay(tune, Policy(rule.thresholds(EXITS), rule, method="any", target=0.5), COSTS).cost_ratio

    placed = {routes.rule("placed", cut, 0).route for cut in routes.cuts}
    every = [RouteRule(route, cut) for route in placed for cut in routes.cuts]
    within = [paid(rule) for rule in every if _loss(tune, rule) <= max_loss]
    found = [paid(rule) for rule in chain if _loss(tune, rule) <= max_loss]
    assert min(within) < 1
    assert min(found) == pytest.approx(min(within), abs=0.01)  # the chain leaves out steps that gain less


def _population(logits, label, scoring):
    look = joint_look([RouteRule(Predictive(), -1.0)], scoring, CLASSES)
    table = observe(look, logits, np.asarray(label), np.arange(len(logits)))
    answers = logits.argmax(axis=2)
    values = np.concatenate([table.uncertainty, np.zeros((len(logits), 1))], axis=1)
    names = [str(c) for c in range(CLASSES)]
    agrees = answers == answers[:, -1:]
    return Outcomes(table.sample, np.asarray(label), values, table.correct, agrees, NAMES, names, table.growth)


def _loss(rows, rule):
    result = replay(rows, Policy(rule.thresholds(EXITS), rule, method="any", target=0.5), COSTS)
    return float(rows.correct[:, -1].mean() - result.accuracy)
