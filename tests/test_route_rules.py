"""Routes as rules: JSON, replay against literal loops, calibration against brute force."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from cases.route_policies import (
    CLASSES,
    COSTS,
    EXITS,
    HEAD,
    SEGMENT,
    SETTINGS,
    arguments,
    entry,
    everything,
    logits_of,
)
from pydantic import ValidationError

from offramp.cache.folds import in_tune
from offramp.calibration import calibrate_cache
from offramp.calibration.folds import deal
from offramp.calibration.params import Predictive as CalibratedRoutes
from offramp.calibration.placement import place
from offramp.calibration.routes import cut_grid, untimed
from offramp.calibration.settings import RouteSettings, Settings
from offramp.check import recheck
from offramp.evaluation.results import evaluate_policies, read_test
from offramp.policies.costs import from_parts
from offramp.policies.file import read_policies, write_policies
from offramp.policies.policy import Policy
from offramp.policies.replay import replay
from offramp.policies.routes.jumps import ConstantJump, RandomJump
from offramp.policies.routes.learned import fit_learned
from offramp.policies.routes.routes import EveryExit, Placed, Predictive, SingleJump
from offramp.policies.routes.rule import RouteRule, route_rule
from offramp.policies.routes.smoothing import LARGEST_HORIZON
from offramp.policies.rules import leaves
from offramp.policies.text import beta, describe
from offramp.project.errors import InputError
from offramp.scores.activation import STATISTICS, Activation, thresholds_of
from offramp.scores.scoring import Scoring, rounded
from studies.predictive_exit.controls import HandRule, RatioOnly
from studies.predictive_exit.params import Predictive as ComparedRoutes


@pytest.fixture(scope="module")
def policies(route_policies):
    return read_policies(route_policies / "p.json")


def test_score_activation_is_fitted_on_the_tune_fold_and_is_the_formula(route_policies, policies):
    logits, label, sample = logits_of(route_policies / "val.parquet")
    tune = in_tune(sample, 0.2, 17)
    scale = np.abs(logits[tune].astype(float)).max(axis=2).mean(axis=0)
    assert policies.scoring.activation.thresholds == pytest.approx(scale)
    assert policies.scoring.arguments["statistic"] == "mean_max"
    expected = rounded(-np.abs(logits.astype(float)).max(axis=2) / policies.scoring.activation.thresholds)
    assert np.array_equal(policies.scoring(logits), expected)
    assert np.array_equal(policies.scoring.at_exit(3, logits[:, 3:4]), expected[:, 3])
    for statistic in STATISTICS:
        fitted = calibrate_cache(
            route_policies / "val.parquet",
            COSTS,
            replace(SETTINGS, wanted=[("shared", 0.8)], selected=("shared", 0.8), statistic=statistic),
        ).scoring
        assert fitted.activation.thresholds == pytest.approx(
            thresholds_of(logits.shape[1], [(logits[tune], label[tune])], statistic)
        )
    with pytest.raises(InputError, match="takes no temperature"):
        calibrate_cache(route_policies / "val.parquet", COSTS, replace(SETTINGS, temperature="per_exit"))


def test_policies_survive_json(route_policies, policies, tmp_path):
    write_policies(tmp_path / "again.json", policies)
    again, first = (
        json.loads((folder / name).read_text())
        for folder, name in ((tmp_path, "again.json"), (route_policies, "p.json"))
    )
    assert again == first
    rules = {policy.method: policy.rule for policy in policies.policies}
    plain = {method for method, rule in rules.items() if rule.name == "threshold"}
    assert plain <= {"certified_placed", "certified_single_jump"}, "only these promise too little here"
    for policy in policies.policies:
        if isinstance(policy.rule, RouteRule):
            assert policy.rule.thresholds(EXITS) == policy.thresholds
    text = describe(policies)
    assert f"β {-policies.selected.rule.cut:.4g}" in text


@pytest.mark.parametrize("route", [HandRule(start=1), RatioOnly(start=0, base=1.5, horizon=4)])
def test_a_route_of_the_study_alone_is_no_rule(route):
    with pytest.raises(ValueError, match=f"route '{route.name}' is no rule"):
        RouteRule(route, -2.0)


def _model(name, key, value):
    def change(content):
        models = entry(content, "learned")["arguments"]["models"]
        models[name or next(iter(models))][key] = value

    return change


REFUSED = [
    (arguments("every_exit", start=0), "start must be a whole number from 1"),
    (arguments("every_exit", start=True), "start must be a whole number from 1"),
    (arguments("every_exit", start=99), "speaks of exit_99"),
    (arguments("every_exit", jump=2), "takes the arguments cut, start"),
    (arguments("predictive", cut=None), "cut must be a finite number"),
    (arguments("predictive", cut=-0.5), "has the threshold -0.5 at exit_. by its arguments"),
    (arguments("predictive", horizon=65), "horizon must be a whole number from 1 to 64"),
    (arguments("predictive", clamp=1), "clamp must be true or false"),
    (arguments("placed", exits=[2, 2]), "must ascend"),
    (arguments("placed", exits=[EXITS]), f"speaks of exit_{EXITS}"),
    (arguments("random_jump", weights=[0.0]), "not all 0"),
    (arguments("random_jump", weights=[-1.0, 2.0]), "weights must be finite, not negative"),
    (arguments("constant_jump", ahead=0), "ahead must be a whole number"),
    (_model(None, "spread", [0.0] * 6), "spread that is not above 0"),
    (_model(None, "mean", [math.pi] * 5), "needs . rows of weights"),
    (lambda c: entry(c, "learned")["arguments"]["models"].popitem(), "of rule 'learned' needs"),
    (lambda c: entry(c, "every_exit")["thresholds"].update(exit_5=None), "at exit_5 by its arguments; it is None"),
    (lambda c: c.update(score="entropy", score_arguments=None), "compares activations; the score is 'entropy'"),
    (lambda c: c["score_arguments"]["thresholds"].update(exit_2=-1.0), "exit_2 must be a finite number from 0"),
    (lambda c: c["score_arguments"].update(statistic="best"), "must be a statistic"),
    (lambda c: c["temperature"].update(exit_2=2.0), "takes no temperature"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_broken_arguments_are_refused_in_one_line(route_policies, tmp_path, change, message):
    content = json.loads((route_policies / "p.json").read_text())
    change(content)
    (tmp_path / "p.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message) as error:
        read_policies(tmp_path / "p.json")
    assert "\n" not in str(error.value)
    with pytest.raises(InputError):  # the check reads strictly too
        recheck(tmp_path / "p.json", route_policies / "val.parquet", route_policies / "costs.json")


def test_a_score_or_a_file_that_a_route_cannot_use_is_refused(route_policies):
    for method, score, message in (("predictive", "entropy", "must be activation"), ("every_exit", "change", "heads")):
        settings = Settings([(method, 0.8)], (method, 0.8), score=score)
        with pytest.raises(InputError, match=message):
            calibrate_cache(route_policies / "val.parquet", COSTS, settings)
    with pytest.raises(InputError, match="start must be auto or a side exit from 1 to 5; got 9"):
        settings = replace(SETTINGS, predictive=RouteSettings(start=8))
        calibrate_cache(route_policies / "val.parquet", COSTS, settings)
    sums = replace(COSTS, segment=None, head=None)
    with pytest.raises(InputError, match="only cumulative"):
        calibrate_cache(route_policies / "val.parquet", sums, SETTINGS)


def test_forecasts_that_cost_no_time_are_told():
    times = from_parts("ms", [1.0] * EXITS, [0.5] * EXITS)
    methods = ["shared", "placed", "certified_predictive", "learned"]
    assert "those of certified_predictive, learned are charged 0 ms" in untimed(methods, times)
    assert untimed(methods, COSTS) is None
    assert untimed(["shared", "every_exit"], times) is None


def test_the_horizon_has_one_bound():
    for section in (CalibratedRoutes, ComparedRoutes):
        assert section(horizon=LARGEST_HORIZON).horizon == LARGEST_HORIZON
        with pytest.raises(ValidationError):
            section(horizon=LARGEST_HORIZON + 1)
    given = {"start": 1, "cut": -1.0, "clamp": True}
    assert route_rule("predictive", given | {"horizon": LARGEST_HORIZON}).route.horizon == LARGEST_HORIZON
    with pytest.raises(ValueError, match=f"horizon must be a whole number from 1 to {LARGEST_HORIZON}"):
        route_rule("predictive", given | {"horizon": LARGEST_HORIZON + 1})


def test_replay_is_a_literal_loop_over_single_samples(route_policies, policies):
    outcomes = everything(policies.scoring, route_policies / "test.parquet").take(np.arange(250))
    tune = everything(policies.scoring, route_policies / "val.parquet")
    cut = float(np.quantile(tune.uncertainty[:, :-1], 0.4))
    learned = fit_learned(tune, cut, COSTS, start=1)
    routes = [
        EveryExit(start=2), Placed(exits=(1, 4)), Predictive(start=1, horizon=3, clamp=False), SingleJump(horizon=8),
        ConstantJump(ahead=2), RandomJump(weights=(1.0, 2.0)), learned,
    ]  # fmt: skip
    for route in routes:
        rule = RouteRule(route, cut)
        result = replay(outcomes, Policy(rule.thresholds(EXITS), rule, method="any", target=0.5), COSTS)
        for n in range(len(outcomes)):
            taken, heads, paid = literal(route, outcomes.take(np.array([n])), cut)
            assert (result.taken[n], result.heads[n]) == (taken, heads), route.name
            assert result.cost[n] == pytest.approx(paid)
        assert result.mean_cost == pytest.approx(result.paid.mean())
        part = result.part(result.taken < 4)
        assert part.cost_at_exits[part.taken].mean() == pytest.approx(part.mean_cost)


def literal(route, table, cut):
    """Where one sample leaves, how many heads it runs and what it pays, by the contract's words."""
    step = {Predictive: 2 * CLASSES * getattr(route, "horizon", 0), SingleJump: 2 * CLASSES * 8}.get(type(route), 0)
    k, heads, paid, first = min(route.start, EXITS - 1), 0, 0.0, True
    while k < EXITS - 1:
        heads, paid = heads + 1, paid + HEAD[k]
        if leaves(table.uncertainty[:, k], cut)[0] or (isinstance(route, SingleJump) and not first):
            return k, heads, paid + sum(SEGMENT[: k + 1])
        first = False
        if k == EXITS - 2:
            break
        paid += route.models[k - route.start].weights.size if route.name == "learned" else step
        k += int(route.jumps(table.at(k, np.array([0])), cut)[0])
        k = min(k, EXITS - 2 if route.clamp else EXITS - 1)
    return EXITS - 1, heads + 1, paid + HEAD[-1] + sum(SEGMENT)


def test_a_calibrated_route_is_the_cheapest_that_reaches_its_target(route_policies, policies):
    val = everything(policies.scoring, route_policies / "val.parquet")
    tune, rest = (part.rows for part in deal(val, 0.2, 17))
    full = replay(rest, Policy((None,) * (EXITS - 1) + (math.inf,)), COSTS).mean_cost
    for method, make in (
        ("every_exit", lambda _cut, start: EveryExit(start=start)),
        ("predictive", lambda _cut, start: Predictive(start=start)),
        ("learned", lambda cut, start: fit_learned(tune, cut, COSTS, start)),
    ):
        lowest = full if rest.correct[:, -1].mean() >= 0.8 else math.inf
        for cut in cut_grid(tune.uncertainty[:, :-1], 25):
            for start in range(EXITS - 1):
                rule = RouteRule(make(cut, start), cut)
                result = replay(rest, Policy(rule.thresholds(EXITS), rule, method="any", target=0.5), COSTS)
                if result.accuracy >= 0.8:
                    lowest = min(lowest, result.mean_cost)
        chosen = next(policy for policy in policies.policies if policy.method == method)
        assert replay(rest, chosen, COSTS).mean_cost == pytest.approx(lowest)
        assert chosen.validation["mac_ratio"] == pytest.approx(lowest / COSTS.full)
    cuts = cut_grid(tune.uncertainty[:, :-1], 25)
    placed = {place(tune, cut, COSTS, 0.9).exits for cut in cuts}
    pairs = [RouteRule(Placed(exits=exits), cut) for exits in placed for cut in cuts]
    results = [replay(rest, Policy(rule.thresholds(EXITS), rule, method="any", target=0.5), COSTS) for rule in pairs]
    chosen = next(policy for policy in policies.policies if policy.method == "placed")
    lowest = min(result.mean_cost for result in results if result.accuracy >= 0.8)
    assert lowest < full
    assert replay(rest, chosen, COSTS).mean_cost == pytest.approx(lowest)
    settings = replace(SETTINGS, wanted=[("predictive", 1.0)], selected=("predictive", 1.0))
    beyond = calibrate_cache(route_policies / "val.parquet", COSTS, settings).selected
    assert not beyond.feasible
    assert "no cut of predictive reaches" in beyond.reason
    assert replay(rest, beyond, COSTS).accuracy == beyond.nearest


def test_evaluation_counts_the_heads_and_forecasts_of_every_sample(route_policies, policies):
    outcomes = read_test(route_policies / "test.parquet", policies, COSTS)
    report = evaluate_policies(policies, outcomes, COSTS)
    for policy in policies.policies:
        entry = report.evaluation[policy.method][f"{policy.target:g}"]
        result = replay(outcomes, policy, COSTS)
        assert entry["mac_ratio"] == pytest.approx(result.cost.mean() / COSTS.full)
        assert entry["mac_ratio_low"] <= entry["mac_ratio"] <= entry["mac_ratio_high"]
        if result.heads is None:
            continue
        assert entry["heads_per_sample"] == result.heads.mean()
        assert entry["beta"] == -policy.rule.cut
        spread = 1.96 * result.cost.std() / math.sqrt(len(outcomes)) / COSTS.full
        assert entry["mac_ratio_high"] - entry["mac_ratio"] == pytest.approx(spread, rel=0.15)
        rows = [row for row in report.exits if row["method"] == policy.method]
        paid = sum(row["samples"] * row["mmacs"] for row in rows if row["samples"])
        assert paid * 1e6 == pytest.approx(result.cost.sum())
        assert all(("mmacs" in row) == (row["samples"] > 0) for row in rows)


def test_an_activation_that_is_wrong_is_refused():
    with pytest.raises(ValueError, match="none negative"):
        Activation((1.0, -1.0))
    with pytest.raises(ValueError, match="belong to the scores"):
        Scoring.from_json("activation", {"exit_1": 1.0}, None)


def test_a_cut_that_lets_everyone_go_is_a_beta_of_0(policies):
    for cut, expected in ((-0.7, 0.7), (0.4, 0.0)):
        rule = RouteRule(EveryExit(), cut)
        policy = Policy(rule.thresholds(EXITS), rule, method="any", target=0.5)
        assert beta(policy, policies.scoring) == expected
