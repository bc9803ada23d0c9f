"""The comparison of routes: its parameters, the stage's files on a small cache, energy by hand, and one exit."""

import csv
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from cases.graded import graded_logits

from docs.readme.predictive import comparison_table, energy_table, gains_text, sensitivity_table
from offramp.cache.reading import open_cache
from offramp.cache.writing import write_logits
from offramp.calibration.placement import distinct, place, spread
from offramp.calibration.routes import cut_grid
from offramp.policies.costs import LatencyRow, from_parts, read_costs, write_costs
from offramp.policies.routes.routes import EveryExit, Placed
from offramp.project.errors import InputError
from offramp.project.sections import validate
from offramp.project.yaml import read_yaml
from studies.predictive_exit.comparison import measure_route
from studies.predictive_exit.curves import envelope
from studies.predictive_exit.figures import draw_predictive
from studies.predictive_exit.material import Fold
from studies.predictive_exit.params import Predictive, Study
from studies.predictive_exit.results import COLUMNS, NOTHING, compare_all, material_of, plan_of, write_comparison
from studies.predictive_exit.sensitivity import permutation_sensitivity

STUDY = Path("studies/predictive_exit/params.yaml")
ROOT = Path(__file__).resolve().parents[1]
EXITS = 7
COSTS = ([1000] * EXITS, [150] * EXITS)
SMALL = Predictive(
    starts=[1, 3, 99], jumps=[1, 2, 50], cuts=12, permutations=3, permuted=60, max_loss=[0.02, 0.1], theta=0.9
)
FOLD = Fold(0.3, 17)
SCORES = ("activation_signed_mean", "activation_mean_max", "entropy")
SAME = ("start", "cut", "accuracy", "mac_ratio", "heads")


def write_caches(folder, n_exits=EXITS, costs=COSTS):
    for split, seed, n in (("val", 1, 700), ("test", 2, 500)):
        logits, label = graded_logits(seed, n, np.linspace(2, 12, n_exits))
        path = folder / f"data/logits/{split}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_logits(path, logits, label)
    names = [f"exit_{k + 1}" for k in range(n_exits)]
    write_costs(folder / "metrics/costs.json", names, *(part[:n_exits] for part in costs))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A folder with the stage's files, and the comparison that they hold."""
    folder = tmp_path_factory.mktemp("predictive")
    write_caches(folder)
    val, test = (open_cache(folder / f"data/logits/{split}.parquet") for split in ("val", "test"))
    costs = read_costs(folder / "metrics/costs.json")
    material = material_of(val, test, SMALL, FOLD, "entropy", "none")
    comparison = compare_all(material, costs, plan_of(SMALL, 17, costs, folder / "none", LatencyRow()))
    write_comparison(comparison, folder / "metrics/predictive.json", folder / "plots")
    return folder, comparison


def rows_of(folder, name):
    with (folder / f"plots/{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def leaves_of(value):
    if isinstance(value, dict):
        for part in value.values():
            yield from leaves_of(part)
    else:
        yield value


def test_every_route_stands_at_equal_accuracy_under_every_score(found):
    folder, comparison = found
    rows = rows_of(folder, "comparison")
    held = {}
    for row in rows:
        held.setdefault((row["score"], row["max_loss"]), {})[row["policy"]] = row
    assert set(held) == {(score, loss) for score in SCORES for loss in ("0.02", "0.1")}
    of_all = {"every_exit", "placed", "learned", "random_jump", "oracle_exit", "oracle_label"}
    of_all |= {"constant_jump_1", "constant_jump_2"}
    engines = {"predictive", "predictive_unclamped", "single_jump", "hand_rule", "ratio_only"}
    for (score, _), routes in held.items():
        assert set(routes) == (of_all if score == "entropy" else of_all | engines)
        assert all(float(row["start"]) in (1, 3) for name, row in routes.items() if name != "placed")
        every, one = routes["every_exit"], routes["constant_jump_1"]  # the same under two names
        assert [every[key] for key in SAME] == [one[key] for key in SAME]
        assert float(routes["oracle_exit"]["heads"]) == 1
    full = comparison.summary()["about"]["full_validation_accuracy"]
    reached = [row for row in rows if row["feasible"] == "True"]
    assert all(float(row["validation_accuracy"]) >= full - float(row["max_loss"]) - 1e-12 for row in reached)
    assert len(reached) > 0.9 * len(rows)


def test_what_a_route_pays_is_trunk_heads_and_forecasts(found):
    _, comparison = found
    for contest in comparison.contests:
        for row in contest.rows():
            walk = contest.walk(row["policy"])
            trunk = (walk.taken + 1).mean() * 1000 / 7150
            assert row["heads_ratio"] == pytest.approx(row["heads"] * 150 / 7150)
            assert row["mac_ratio"] == pytest.approx(trunk + row["heads_ratio"] + row["forecasts_ratio"])
            if row["policy"].startswith(("constant_jump", "random_jump", "every_exit", "placed", "oracle")):
                assert row["forecasts"] == 0
            if row["policy"] == "predictive":  # 8 rounds of 2 additions for 4 classes
                assert row["forecasts_ratio"] == pytest.approx(row["forecasts"] * 64 / 7150)


def test_placements_are_paired_with_every_cut_and_the_pair_is_chosen_on_validation(found):
    """Refitted at each cut, a strict cut would leave no exit; the cheapest pair of any placement and cut is wanted."""
    _, comparison = found
    for contest in comparison.contests:
        tune, validation, costs = contest.scored.tune, contest.scored.validation, comparison.costs
        cuts = [
            cut for cut in cut_grid(tune.uncertainty[:, :-1], SMALL.cuts) if cut < 0 or not contest.scored.runs_engine
        ]
        placed = {place(tune, cut, costs, SMALL.theta).exits for cut in cuts}
        assert len(placed) > 2
        tried = [measure_route(validation, Placed(exits=exits), cut, costs) for exits in placed for cut in cuts]
        target = validation.correct[:, -1].mean() - contest.max_loss
        lowest = min(each.cost.mean() for each in tried if each.accuracy >= target)
        chosen = contest.compared["placed"]
        assert chosen.feasible
        assert measure_route(validation, chosen.route, chosen.cut, costs).cost.mean() == pytest.approx(lowest)


def test_curves_are_what_no_other_start_and_cut_beats_on_validation(found):
    folder, comparison = found
    rows = rows_of(folder, "curves")
    assert {(row["score"], row["policy"]) for row in rows} == {
        (row["score"], row["policy"]) for row in rows_of(folder, "comparison")
    }
    for contest in comparison.contests[::2]:
        part = [row for row in rows if (row["score"], row["policy"]) == (contest.scored.name, "every_exit")]
        validation, costs = contest.scored.validation, comparison.costs
        cuts = [
            cut
            for cut in cut_grid(contest.scored.tune.uncertainty[:, :-1], 12)
            if cut < 0 or not contest.scored.runs_engine
        ]
        found_there = {}
        for start in (0, 2):
            for cut in cuts:
                each = measure_route(validation, EveryExit(start=start), cut, costs)
                found_there[start + 1, f"{cut:.6g}"] = each.accuracy, each.cost.mean()
        for row in part:
            accuracy, cost = found_there[int(row["start"]), f"{float(row['cut']):.6g}"]
            assert float(row["validation_accuracy"]) == pytest.approx(accuracy, abs=1e-6)
            assert not any(a >= accuracy and c < cost for a, c in found_there.values())
            on_test = measure_route(
                contest.scored.test, EveryExit(start=int(row["start"]) - 1), float(row["cut"]), costs
            )
            assert float(row["mac_ratio"]) == pytest.approx(on_test.cost.mean() / 7150, abs=5e-3)


def test_an_envelope_of_many_points_keeps_its_ends():
    cost = np.array([5.0, 1, 2, 3, 4, 2])
    assert envelope(cost, np.array([0.9, 0.5, 0.6, 0.6, 0.8, 0.7])) == [1, 5, 4, 0]
    kept = envelope(np.arange(100.0), np.arange(100.0), 7)
    assert (kept[0], kept[-1], len(kept)) == (0, 99, 7)


def test_the_json_has_neither_null_nor_list_and_says_what_the_tables_say(found):
    folder, _ = found
    content = json.loads((folder / "metrics/predictive.json").read_text())
    assert all(isinstance(value, int | float | str) for value in leaves_of(content))
    assert list(content) == ["about", "comparison", "forecasts", "sensitivity", "energy"]
    for row in rows_of(folder, "comparison"):
        held = content["comparison"][row["score"]][row["max_loss"]][row["policy"]]
        assert held["mac_ratio"] == float(row["mac_ratio"])
    for name, columns in COLUMNS.items():
        assert list(rows_of(folder, name)[0]) == columns
    assert len(rows_of(folder, "layers")) == EXITS
    shares = rows_of(folder, "exits")
    for score in {row["score"] for row in shares}:
        part = [row for row in shares if (row["score"], row["max_loss"]) == (score, "0.02")]
        assert sum(float(row["every_exit_leaves"]) for row in part) == pytest.approx(1)
    order = content["sensitivity"]["activation_mean_max"]
    assert order["predictive"]["class_order"]["fires"] == order["learned"]["class_order"]["taken"] == 0
    assert content["sensitivity"]["entropy"]["learned"]["mean_logit"]["taken"] == 0
    assert content["sensitivity"]["activation_signed_mean"]["predictive"]["mean_logit"]["fires"] > 0.1


def test_energy_is_that_of_the_walks_by_hand(found):
    _, comparison = found
    device = SMALL.energy
    contest = comparison.contests[-1]
    plan = plan_of(SMALL, 17, from_parts("macs", *COSTS), Path("none"), LatencyRow())
    rows = {row["policy"]: row for row in contest.energy_rows(plan.work, plan.device, 0.0)}
    row, walk = rows["every_exit"], contest.walk("every_exit")
    per_ms = device.macs_per_cycle * 1300.5e3
    work = ((walk.taken + 1) * 1000 + walk.visited.sum(axis=1) * 150) / per_ms
    watts = 6.0 * 1.1**2 * 1300.5e-3 + 2.0
    idle = np.maximum(7150 / per_ms - work, 0) * 0.5
    assert row["race_mj"] == pytest.approx((work * watts + idle).mean())
    assert row["full_mj"] == pytest.approx(7150 / per_ms * watts)
    assert row["scaled_mj"] == pytest.approx(row["race_mj"])  # no forecast, nothing is slowed down
    assert rows["learned"]["ideal_scaled_ratio"] <= rows["learned"]["ideal_race_ratio"] + 1e-12


def test_figures_and_readme_blocks_are_made_of_the_files(found):
    folder, comparison = found
    draw_predictive(folder / "plots")
    assert {path.stem for path in (folder / "plots").glob("*.png")} == {"comparison", "layers", "energy", "curves"}
    content = comparison.summary()
    assert "| engine, one jump |" in comparison_table(content)
    assert content["comparison"]["entropy"]["0.02"]["learned"]["mac_ratio"] > 0
    for make in (sensitivity_table, energy_table):
        assert "| entropy | learned forecast |" in make(content)
    assert "| entropy | 0.1 | learned forecast |" in gains_text(content)


def test_where_all_fire_no_share_of_forecasts_is_told(found):
    _, comparison = found
    scored, some = comparison.contests[0].scored, comparison.material.logits.some
    changed = permutation_sensitivity(scored.look, EveryExit(), 1.0, some, 2)  # no activation is so small
    assert (changed.fires, changed.jumps, changed.taken) == (0, None, 0)
    row = {"fires": 0.5, "taken": 0.25}
    text = sensitivity_table({"sensitivity": {"entropy": {"learned": {"mean_logit": row}}}})
    assert "| mean of the logits | 50.0% |  | 25.0% |" in text


def test_placements_are_named_by_their_first_cut_and_thinned_evenly():
    assert distinct([3.0, 1.0, 2.0], lambda cut: (0,) if cut < 2.5 else (0, 4)) == [1.0, 3.0]
    assert spread([float(number) for number in range(100)]) == [9.0 * number for number in range(12)]
    assert spread([2.0, 5.0]) == [2.0, 5.0]
    assert spread([]) == []


def test_a_network_of_one_exit_has_nothing_to_compare(tmp_path, monkeypatch, capsys):
    write_caches(tmp_path, 1)
    (tmp_path / "plots/predictive").mkdir(parents=True)
    (tmp_path / "plots/predictive/energy.png").write_bytes(b"of another network")
    (tmp_path / "params.yaml").write_text("seed: 17\n")
    (tmp_path / STUDY).parent.mkdir(parents=True)
    (tmp_path / STUDY).write_text("predictive: {}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    runpy.run_path(str(ROOT / "studies/predictive_exit/compare.py"))["main"]()
    assert capsys.readouterr().out == f"{NOTHING}\n"
    assert json.loads((tmp_path / "metrics/predictive.json").read_text())["about"]["exits"] == 1
    for name, columns in COLUMNS.items():
        assert (tmp_path / f"plots/predictive/{name}.csv").read_text() == ",".join(columns) + "\n"
    assert not (tmp_path / "plots/predictive/energy.png").exists()


def test_caches_and_costs_that_do_not_belong_together_are_refused(tmp_path):
    write_caches(tmp_path)
    val, test = (open_cache(tmp_path / f"data/logits/{split}.parquet") for split in ("val", "test"))
    with pytest.raises(InputError, match="at least one row of the tune fold"):
        material_of(val, test, SMALL, Fold(1e-9, 17), "entropy", "none")
    material = material_of(val, test, SMALL, FOLD, "change", "none")
    assert [scored.name for scored in material.scored] == ["activation_signed_mean", "activation_mean_max"]
    other = from_parts("macs", [1.0, 2.0], [1.0, 1.0])
    with pytest.raises(InputError, match="costs are of 2 exits, the logits of 7"):
        compare_all(material, other, plan_of(SMALL, 17, other, tmp_path, LatencyRow()))
    logits, label = graded_logits(3, 20, [1.0, 2.0])
    write_logits(tmp_path / "two.parquet", logits, label)
    with pytest.raises(InputError, match="differ in exits"):
        material_of(val, open_cache(tmp_path / "two.parquet"), SMALL, FOLD, "entropy", "none")


def test_parameters_are_checked_and_documented():
    assert validate(Study, read_yaml(ROOT / STUDY), str(STUDY)).predictive == Predictive()
    level = {"mhz": 500.0, "volts": 1.0}
    for raw, told in (
        ({"statistics": ["mean"]}, "predictive.statistics.0 must be one of: mean_abs, .*; got 'mean'"),
        ({"max_loss": [0.0]}, "predictive.max_loss must be"),
        ({"starts": [0]}, "predictive.starts.0 must be a whole number, at least 1; got 0"),
        ({"energy": {"levels": [level, {"mhz": 400.0, "volts": 1.0}]}}, "must ascend in mhz"),
        ({"energy": {"levels": [level, {"mhz": 600.0, "volts": 0.9}]}}, "volts must not fall"),
        ({"energy": {"reserve": 1.5}}, r"predictive.energy.reserve must be a number in \[0, 1\]; got 1.5"),
    ):
        content = read_yaml(ROOT / STUDY)
        content["predictive"] |= raw
        with pytest.raises(InputError, match=told):
            validate(Study, content, str(STUDY))
