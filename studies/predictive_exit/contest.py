"""All routes of one score at one accuracy: which were chosen, their costs, forecasts and modelled energy."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from offramp.policies.costs import Costs
from offramp.policies.outcomes import Outcomes
from offramp.policies.routes.jumps import first_jumps
from offramp.policies.routes.walk import Route, Walk, parts, step_costs
from offramp.statistics.intervals import wilson
from studies.predictive_exit.comparison import REFERENCE, Compared, compare_routes, paired_differences
from studies.predictive_exit.curves import Swept
from studies.predictive_exit.energy import Device, Energy, Work, walk_energy
from studies.predictive_exit.families import ENGINE, Options, forecasts
from studies.predictive_exit.material import Scored

Row = dict[str, Any]
FORECAST = ("scored", "censored_exact", "exact", "mean_absolute_error", "overshoot", "overshoot_layers", "undershoot")
ENERGETIC = (REFERENCE, ENGINE, "learned", "oracle_exit")


@dataclass(frozen=True)
class Contest:
    """The routes of a score, compared at one loss against the full network."""

    scored: Scored
    costs: Costs
    max_loss: float
    options: Options
    compared: dict[str, Compared]

    def walk(self, name: str) -> Walk:
        """Return the walk of a chosen route on test rows."""
        chosen = self.compared[name]
        return chosen.route.walk(self.scored.test, chosen.cut)

    def rows(self) -> Iterator[Row]:
        """Yield one row per route."""
        for name in self.compared:
            yield {"score": self.scored.name, "max_loss": self.max_loss, "policy": name, **self._row(name)}

    def forecast_rows(self) -> Iterator[Row]:
        """Yield the quality of all forecasts at every start, at the cut that the engine, else every_exit, was given.

        `chosen` marks the start that it was given.
        """
        leader = self.compared[ENGINE if ENGINE in self.compared else REFERENCE]
        cut = leader.cut
        test = self.scored.test
        for start in self.options.starts_in(test.n_exits):
            if start < test.last - 1:
                made = forecasts(self.scored.tune, self.scored.runs_engine, self.costs, self.options, cut, start)
                for name, route in made.items():
                    about: Row = {"score": self.scored.name, "max_loss": self.max_loss, "policy": name}
                    about |= {"start": start + 1, "chosen": start == leader.route.start, "cut": cut}
                    yield {**about, **self._quality(route, cut)}

    def exit_rows(self, exits: Sequence[str], thresholds: Sequence[float] | None) -> Iterator[Row]:
        """Yield, per exit: T, who fires there at the cut of every_exit, where some routes look and samples leave."""
        reference = self.compared[REFERENCE]
        test = self.scored.test
        fires = test.fires(reference.cut).mean(axis=0)
        walks = {name: self.walk(name) for name in (REFERENCE, ENGINE, "learned") if name in self.compared}
        for k, name in enumerate(exits):
            row: Row = {"score": self.scored.name, "max_loss": self.max_loss, "exit": name}
            row |= {} if thresholds is None else {"threshold": thresholds[k]}
            row |= {"cut": reference.cut, "fires": float(fires[k])} if k < test.last else {}
            for policy, walk in walks.items():
                row[f"{policy}_looks"] = float(walk.visited[:, k].mean())
                row[f"{policy}_leaves"] = float((walk.taken == k).mean())
            yield row

    def energy_rows(self, work: Work, device: Device, reserve: float) -> Iterator[Row]:
        """Yield the modelled energy of some routes on test rows, beside that of the full network.

        `ideal` is the frequency rule on a device without static power and with free changes of level: all that it can
        gain, from the voltages alone.
        """
        ideal = replace(device, static_w=0.0, idle_w=0.0, switch_ms=0.0, switch_mj=0.0)
        for name in ENERGETIC:
            if name in self.compared:
                walk = self.walk(name)
                row: Row = {"score": self.scored.name, "max_loss": self.max_loss, "policy": name}
                row |= _energy(walk_energy(walk, work, device, reserve))
                best = walk_energy(walk, work, ideal, reserve)
                row["ideal_scaled_ratio"] = float(best.scaled.mean()) / best.full
                row["ideal_race_ratio"] = float(best.race.mean()) / best.full
                yield row

    def _row(self, name: str) -> Row:
        chosen, test = self.compared[name], self.scored.test
        n, right = len(test), int(chosen.measured.correct.sum())
        low, high = wilson(right, n)
        walk = self.walk(name)
        row: Row = {"feasible": chosen.feasible, "start": min(chosen.route.start, test.last) + 1, "cut": chosen.cut}
        row |= {"beta": -chosen.cut} if self.scored.runs_engine else {}
        row |= {"validation_accuracy": chosen.validation_accuracy}
        row |= {"accuracy": chosen.accuracy, "accuracy_low": low, "accuracy_high": high}
        row |= {"loss": float(test.correct[:, -1].mean()) - chosen.accuracy}
        row |= {"mmacs": chosen.cost / 1e6, "mac_ratio": chosen.cost_ratio, "heads": chosen.heads}
        row |= self._spent(chosen.route, walk)
        row |= _spread("mac_difference", chosen.cost_difference)
        row |= _spread("accuracy_difference", chosen.accuracy_difference)
        if ENGINE in self.compared and name not in (ENGINE, REFERENCE):
            cost, accuracy = paired_differences(chosen.measured, self.compared[ENGINE].measured, self.costs.full)
            row |= _spread("mac_against_engine", cost) | _spread("accuracy_against_engine", accuracy)
        return row

    def _spent(self, route: Route, walk: Walk) -> Row:
        """Return what heads and forecasts cost, as fractions of the full network, and forecasts per sample."""
        steps = step_costs(route, self.costs, self.scored.test.n_classes)
        head = parts(self.costs)[1]
        forecast = 0.0 if steps is None else float(((walk.jump > 0) @ steps).mean())
        heads = float((walk.visited @ head).mean())
        made = 0.0 if route.blind else float(walk.forecasts.mean())
        return {
            "heads_ratio": heads / self.costs.full,
            "forecasts": made,
            "forecasts_ratio": forecast / self.costs.full,
        }

    def _quality(self, route: Route, cut: float) -> Row:
        found = forecast_quality(self.scored.test, route, cut, self.options.horizon)
        return {name: getattr(found, name) for name in (*FORECAST, "first_hit")}


def contests(swept: Swept, losses: Sequence[float], options: Options) -> list[Contest]:
    """Return the contests of one score, one per loss."""
    scored, costs = swept.scored, swept.costs
    full = float(scored.validation.correct[:, -1].mean())
    tables = (scored.validation, scored.test, swept.cuts, costs)
    found = []
    for loss in losses:
        rows = compare_routes(swept.families, *tables, full - loss, swept=swept.curves)
        found.append(Contest(scored, costs, loss, options, {row.name: row for row in rows}))
    return found


def _energy(found: Energy) -> Row:
    scaled, race = float(found.scaled.mean()), float(found.race.mean())
    return {
        "scaled_mj": scaled,
        "race_mj": race,
        "full_mj": found.full,
        "scaled_ratio": scaled / found.full,
        "race_ratio": race / found.full,
        "scaled_ms": float(found.scaled_ms.mean()),
        "race_ms": float(found.race_ms.mean()),
        "deadline_ms": found.deadline_ms,
        "late": float(found.late.mean()),
        "changes": float(found.transitions.mean()),
    }


def _spread(name: str, values: tuple[float, float, float]) -> Row:
    mean, low, high = values
    return {name: mean, f"{name}_low": min(low, mean), f"{name}_high": max(high, mean)}  # where only rounding differs


@dataclass(frozen=True)
class ForecastQuality:
    """Shares are of the `scored` samples; all are 0 where none is.

    `censored_exact` is the authors' prediction accuracy: k̂ = j, or j beyond the horizon and k̂ the horizon. The others
    are about where the sample looks next, after clamping: `overshoot` (the rule fires before it; `overshoot_layers` on
    average over all scored), `undershoot` (it looks too early, a head for nothing), `first_hit` (it leaves where it
    looks next, the final classifier included; an overshoot may hit), `mean_absolute_error` in exits.
    """

    scored: int
    censored_exact: float
    exact: float
    mean_absolute_error: float
    overshoot: float
    overshoot_layers: float
    undershoot: float
    first_hit: float


def forecast_quality(table: Outcomes, route: Route, cut: float, horizon: int) -> ForecastQuality:
    """Return the quality of a route's first forecasts; `horizon` is where the authors' measure is censored.

    Raises ValueError where `start` has no side exit after it.
    """
    start, last = route.start, table.last
    if start >= last - 1:
        raise ValueError(f"a forecast at exit {start} has no side exit ahead; the last is {last - 1}")
    rows, actual = first_jumps(table, cut, start)
    if len(rows) == 0:
        return ForecastQuality(0, *[0.0] * 7)
    step = route.decide(table.at(start, rows), cut)
    said, looked = step.jump, step.target - start
    exact = said == actual
    censored = exact | ((actual > horizon) & (said == horizon))
    ahead = looked - actual
    hit = table.fires(cut)[rows, step.target]
    return ForecastQuality(
        len(rows),
        float(censored.mean()),
        float(exact.mean()),
        float(np.abs(ahead).mean()),
        float((ahead > 0).mean()),
        float(np.maximum(ahead, 0).mean()),
        float((ahead < 0).mean()),
        float(hit.mean()),
    )
