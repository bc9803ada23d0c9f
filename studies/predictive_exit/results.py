"""A comparison of routes from caches to files. Owns metrics/predictive.json and plots/predictive/*.csv.

The JSON holds, per score and loss, every route at that loss, and per score what changes that mean nothing change.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from offramp.cache.reading import LogitCache
from offramp.policies.costs import Costs, LatencyRow, read_costs
from offramp.policies.outcomes import observe
from offramp.policies.routes.observed import Look, OneExit
from offramp.policies.routes.walk import parts
from offramp.project.errors import InputError
from offramp.project.files import write_json
from offramp.project.tables import write_table
from offramp.scores.activation import ACTIVATION
from offramp.scores.fitting import fit_scoring
from offramp.scores.registry import score_named
from studies.predictive_exit.comparison import REFERENCE
from studies.predictive_exit.contest import Contest, contests
from studies.predictive_exit.curves import sweep_scored
from studies.predictive_exit.energy import Device, Work, work_of
from studies.predictive_exit.families import ENGINE, Options
from studies.predictive_exit.material import (
    Fold,
    Material,
    activation_looks,
    fit_thresholds,
    read_material,
    score_looks,
)
from studies.predictive_exit.params import Energy, Predictive
from studies.predictive_exit.sensitivity import Changes, centred, changes, permutation_sensitivity

Row = dict[str, Any]
KEYS = ("score", "max_loss", "policy")
SPREAD = ("", "_low", "_high")
COLUMNS = {
    "comparison": [
        *KEYS,
        *("feasible", "start", "cut", "beta", "validation_accuracy"),
        *("accuracy", "accuracy_low", "accuracy_high", "loss"),
        *("mmacs", "mac_ratio", "heads", "heads_ratio", "forecasts", "forecasts_ratio"),
        *(
            f"{name}{end}"
            for name in ("mac_difference", "accuracy_difference", "mac_against_engine", "accuracy_against_engine")
            for end in SPREAD
        ),
    ],
    "curves": ["score", "policy", "start", "cut", "validation_accuracy", "accuracy", "mac_ratio", "heads"],
    "forecasts": [
        *KEYS,
        *("start", "chosen", "cut", "scored", "censored_exact", "exact", "mean_absolute_error"),
        *("overshoot", "overshoot_layers", "undershoot", "first_hit"),
    ],
    "layers": [
        *("exit", "segment", "head", "accuracy", "mean_abs", "mean_peak"),
        *(f"threshold_{name}" for name in ("signed_mean", "mean_abs", "mean_max", "winning_correct")),
    ],
    "exits": [
        *("score", "max_loss", "exit", "threshold", "cut", "fires"),
        *(f"{name}_{what}" for name in (REFERENCE, ENGINE, "learned") for what in ("looks", "leaves")),
    ],
    "sensitivity": ["score", "max_loss", "policy", "change", "fires", "jumps", "taken"],
    "energy": [
        *KEYS,
        *("scaled_mj", "race_mj", "full_mj", "scaled_ratio", "race_ratio"),
        *("scaled_ms", "race_ms", "deadline_ms", "late", "changes", "ideal_scaled_ratio", "ideal_race_ratio"),
    ],
}
NOTHING = "the network has one exit; there is nothing to compare"


@dataclass(frozen=True)
class Plan:
    """What is compared and how finely; `shuffles` orders of the classes, `seed` draws them."""

    max_loss: Sequence[float]
    cuts: int
    options: Options
    shuffles: int
    device: Device
    work: Work
    reserve: float


@dataclass(frozen=True)
class Comparison:
    """Everything that was found: the rows of every table, and the contests they are of."""

    material: Material
    costs: Costs
    tables: dict[str, list[Row]]
    contests: list[Contest]

    def summary(self) -> Row:
        """Return metrics/predictive.json."""
        head = parts(self.costs)[1]
        first = self.material.scored[0]
        about: Row = {
            "exits": len(self.material.exits),
            "classes": self.material.n_classes,
            "tune_rows": len(first.tune),
            "validation_rows": len(first.validation),
            "test_rows": len(first.test),
            "full_mmacs": self.costs.full / 1e6,
            "side_heads_ratio": float(head[:-1].sum() / self.costs.full),
            "full_accuracy": float(first.test.correct[:, -1].mean()),
            "full_validation_accuracy": float(first.validation.correct[:, -1].mean()),
        }
        found: Row = {"about": about, "comparison": _nested(self.tables["comparison"], KEYS)}
        found["forecasts"] = _nested(self._chosen_forecasts(), KEYS)
        found["sensitivity"] = _nested(self.tables["sensitivity"], ("score", "policy", "change"))
        found["energy"] = _nested(self.tables["energy"], KEYS)
        return found

    def _chosen_forecasts(self) -> Iterator[Row]:
        """Yield the forecasts that are no constants, from the start that was chosen."""
        for row in self.tables["forecasts"]:
            if row["chosen"] and not row["policy"].startswith("constant"):
                yield {key: value for key, value in row.items() if key != "chosen"}


def compare_all(material: Material, costs: Costs, plan: Plan) -> Comparison:
    """Return the comparison of all routes under every score."""
    if costs.n_exits != len(material.exits):
        raise InputError(f"the costs are of {costs.n_exits} exits, the logits of {len(material.exits)}")
    tables: dict[str, list[Row]] = {name: [] for name in COLUMNS}
    tables["layers"] = list(_layers(material, costs))
    found: list[Contest] = []
    for scored in material.scored:
        thresholds = getattr(scored.look.score, "thresholds", None)
        swept = sweep_scored(scored, costs, plan.cuts, plan.options)
        held = contests(swept, plan.max_loss, plan.options)
        tables["curves"] += swept.rows()
        found += held
        for contest in held:
            tables["comparison"] += contest.rows()
            tables["forecasts"] += contest.forecast_rows()
            tables["exits"] += contest.exit_rows(material.exits, thresholds)
            tables["energy"] += contest.energy_rows(plan.work, plan.device, plan.reserve)
        tables["sensitivity"] += _sensitivity(held[0], material, plan)
    return Comparison(material, costs, tables, found)


def write_comparison(found: Comparison, metrics: Path, folder: Path) -> None:
    """Write the JSON and every table."""
    write_json(metrics, found.summary(), digits=6)
    for name, columns in COLUMNS.items():
        write_table(folder / f"{name}.csv", columns, found.tables[name])


def write_nothing(metrics: Path, folder: Path) -> None:
    """Write what a network of one exit has: no row at all."""
    write_json(metrics, {"about": {"exits": 1, "reason": NOTHING}})
    for name, columns in COLUMNS.items():
        write_table(folder / f"{name}.csv", columns, [])


def describe(found: Comparison) -> str:
    """Return a line per score, loss and route of the main ones."""
    lines = []
    for row in found.tables["comparison"]:
        if row["policy"] in (REFERENCE, "placed", ENGINE, "learned", "oracle_exit"):
            lines.append(
                f"{row['score']:<24} loss {row['max_loss']:g}  {row['policy']:<12} accuracy {row['accuracy']:.4f}, "
                f"{row['mac_ratio']:.3f} of the full cost, {row['heads']:.2f} heads"
                + ("" if row["feasible"] else "  INFEASIBLE")
            )
    return "\n".join(lines)


def _layers(material: Material, costs: Costs) -> Iterator[Row]:
    """Yield, per exit, costs, test accuracy, statistics of its test logits and all activation thresholds."""
    segment, head = parts(costs)
    accuracy = material.scored[0].test.correct.mean(axis=0)
    for k, name in enumerate(material.exits):
        row: Row = {"exit": name, "segment": int(segment[k]), "head": int(head[k]), "accuracy": float(accuracy[k])}
        row |= {"mean_abs": float(material.logits.mean_abs[k]), "mean_peak": float(material.logits.mean_peak[k])}
        yield row | {f"threshold_{key}": values[k] for key, values in material.fitted.plain.items()}


def _sensitivity(contest: Contest, material: Material, plan: Plan) -> Iterator[Row]:
    """Yield what shuffled classes and centred logits change for the engine and the learned forecast."""
    scored, logits = contest.scored, material.logits.some
    for name in (ENGINE, "learned"):
        if name in contest.compared:
            chosen = contest.compared[name]
            seed = plan.options.seed
            needed = replace(scored.look, horizon=0) if name == "learned" else replace(scored.look, predictors=False)
            shuffled = permutation_sensitivity(needed, chosen.route, chosen.cut, logits, plan.shuffles, seed)
            n = len(logits)
            unknown, number = np.full(n, -1), np.arange(n)
            before = observe(scored.look, logits, unknown, number)
            after = observe(scored.look_centred, centred(logits), unknown, number)
            moved = changes(chosen.route, chosen.cut, before, after)
            about = {"score": scored.name, "max_loss": contest.max_loss, "policy": name}
            yield {**about, "change": "class_order", **_changes(shuffled)}
            yield {**about, "change": "mean_logit", **_changes(moved)}


def _changes(found: Changes) -> Row:
    """Return what there is to tell: without `jumps` where no forecast could be compared."""
    jumps = {} if found.jumps is None else {"jumps": found.jumps}
    return {"fires": found.fires, **jumps, "taken": found.taken}


def _nested(rows: Iterator[Row] | Sequence[Row], keys: Sequence[str]) -> Row:
    """Return rows as a tree by the values of `keys`; a number is written as losses are in names."""
    tree: Row = {}
    for row in rows:
        place: Row = tree
        for key in keys:
            place = place.setdefault(row[key] if isinstance(row[key], str) else f"{row[key]:g}", {})
        place |= {key: value for key, value in row.items() if key not in keys}
    return tree


def material_of(
    val: LogitCache, test: LogitCache, params: Predictive, fold: Fold, score: str, temperature: str
) -> Material:
    """Read both caches under every activation statistic of `params` and under `score`, unless that is `activation`.

    Score `change` compares an exit with all before it; no head could be skipped, so it is left out, with a note.
    """
    fitted = fit_thresholds(val, fold)
    looks: dict[str, tuple[Look, Look]] = activation_looks(fitted, params.statistics, params.horizon)
    if score_named(score).compares_exits:
        print(f"score {score!r} needs every earlier head, so no route can skip one; it is left out", file=sys.stderr)
    elif score != ACTIVATION:
        scoring = fit_scoring(val, score, temperature, fold.tune_fraction, fold.fold_seed)
        looks[score] = score_looks(OneExit(scoring))
    return read_material(val, test, fold, looks, fitted, params.permuted)


def plan_of(params: Predictive, seed: int, costs: Costs, latency: Path, row: LatencyRow) -> Plan:
    """Return the plan; `latency`, a latency.json, is read where the energy model is to use its `row`."""
    starts = [start - 1 for start in params.starts]
    options = Options(starts, params.jumps, params.horizon, params.clamp, params.theta, seed)
    device = device_of(params.energy)
    work = _work(params.energy, costs, device, latency, row)
    return Plan(params.max_loss, params.cuts, options, params.permutations, device, work, params.energy.reserve)


def device_of(energy: Energy) -> Device:
    """Return the device of the energy model."""
    return Device(
        tuple(level.mhz for level in energy.levels),
        tuple(level.volts for level in energy.levels),
        energy.capacitance_nf,
        energy.static_w,
        energy.idle_w,
        energy.switch_ms,
        energy.switch_mj,
    )


def _work(energy: Energy, costs: Costs, device: Device, latency: Path, row: LatencyRow) -> Work:
    if energy.work == "costs":
        return work_of(costs, device, energy.macs_per_cycle)
    return work_of(read_costs(latency, row), device)
