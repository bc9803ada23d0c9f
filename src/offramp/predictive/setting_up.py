"""From parameters to what a comparison works on: caches read under every score, and the plan."""

import sys
from pathlib import Path

from offramp.cache.reading import LogitCache
from offramp.costs import Costs, LatencyRow, read_costs
from offramp.fitting import fit_scoring
from offramp.params.predictive import Energy, Predictive
from offramp.predictive.energy import Device, Work, work_of
from offramp.predictive.evidence import Look, OneExit
from offramp.predictive.families import Options
from offramp.predictive.material import Fold, Material, activation_looks, fit_thresholds, read_material, score_looks
from offramp.predictive.results import Plan
from offramp.scoring import ACTIVATION, CHANGE


def material_of(
    val: LogitCache, test: LogitCache, params: Predictive, fold: Fold, score: str, temperature: str
) -> Material:
    """Read both caches under every activation statistic of `params` and under `score`, unless that is `activation`.

    Score `change` compares an exit with all before it; no head could be skipped, so it is left out, with a note.
    """
    fitted = fit_thresholds(val, fold)
    looks: dict[str, tuple[Look, Look]] = activation_looks(fitted, params.statistics, params.horizon)
    if score == CHANGE:
        print("score 'change' needs every earlier head, so no route can skip one; it is left out", file=sys.stderr)
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
