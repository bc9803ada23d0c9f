"""The sweep: one shared entropy cutoff over its whole range, on the test split, as published BranchyNet curves do.

Each cutoff decides for single samples (`threshold`) and for whole batches, by their largest or mean entropy
(`batch_max`, `batch_mean`). A description of the network, not a choice: nothing is ever selected from it. Owns
metrics/sweep.json, of single samples, and plots/sweep.csv.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from offramp.evaluation.tables import MEGA, exit_table
from offramp.policies.costs import Costs
from offramp.policies.outcomes import Outcomes
from offramp.policies.policy import Policy
from offramp.policies.replay import Replay, replay
from offramp.policies.rules import REDUCE, Rule, reduced_in_batches
from offramp.project.files import write_json
from offramp.project.tables import write_table

TOTALS = ["total_macs", "full_total_macs"]


def sweep(outcomes: Outcomes, costs: Costs, n_cutoffs: int) -> Iterator[tuple[float, Replay]]:
    """Yield `n_cutoffs` cutoffs from 0 to ln(classes), ends included, each with its replay."""
    for cutoff in np.linspace(0, math.log(len(outcomes.class_names)), n_cutoffs):
        yield float(cutoff), at_cutoff(outcomes, costs, float(cutoff))


def at_cutoff(outcomes: Outcomes, costs: Costs, cutoff: float) -> Replay:
    """Replay the policy with this cutoff at every side exit, all of them enabled."""
    return replay(outcomes, Policy((cutoff,) * (outcomes.n_exits - 1) + (math.inf,)), costs)


def rules_of(outcomes: Outcomes, batch_size: int) -> dict[str, Outcomes]:
    """Return, per rule, outcomes whose uncertainties are those that the rule compares with the cutoff."""
    found = {Rule.name: outcomes}
    for reduce in REDUCE:
        values = reduced_in_batches(outcomes.uncertainty, outcomes.sample, batch_size, reduce)
        found[f"batch_{reduce}"] = replace(outcomes, uncertainty=values)
    return found


def write_sweep(path: Path, outcomes: Outcomes, costs: Costs, n_cutoffs: int, batch_size: int) -> None:
    """Write, per rule and cutoff, accuracy, mean cost, the MACs of all samples, and every exit's share (exit_1 …).

    `total_macs` is what all samples of the split cost together, `full_total_macs` what they cost the plain network.
    """
    columns = ["rule", "batch_size", "cutoff", "accuracy", "mac_ratio", "mmacs", *TOTALS, *outcomes.exits]
    rows = (
        {"rule": rule, "batch_size": 1 if rule == Rule.name else batch_size, **_row(cutoff, result, outcomes.exits)}
        for rule, ruled in rules_of(outcomes, batch_size).items()
        for cutoff, result in sweep(ruled, costs, n_cutoffs)
    )
    write_table(path, columns, rows)


def write_cutoff(path: Path, outcomes: Outcomes, costs: Costs, cutoff: float) -> dict[str, Any]:
    """Write one cutoff in detail: accuracy, cost, and per exit samples, share, accuracy and the cost of leaving."""
    result = at_cutoff(outcomes, costs, cutoff)
    exits = {row.pop("exit"): row for row in exit_table(result, outcomes.exits)}
    detail = {
        "cutoff": cutoff,
        "accuracy": result.accuracy,
        "mac_ratio": result.cost_ratio,
        "mmacs": result.mean_cost / MEGA,
        "exits": exits,
    }
    write_json(path, detail, digits=6)
    return detail


def _row(cutoff: float, result: Replay, exits: list[str]) -> dict[str, Any]:
    shares = result.samples_at_exits / len(result.taken)
    row = {
        "cutoff": cutoff,
        "accuracy": result.accuracy,
        "mac_ratio": result.cost_ratio,
        "mmacs": result.mean_cost / MEGA,
    }
    row |= dict(zip(TOTALS, (round(result.total_cost), round(result.full_cost * len(result.taken))), strict=True))
    return row | dict(zip(exits, shares.tolist(), strict=True))
