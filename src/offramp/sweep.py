"""The sweep: one shared entropy cutoff over its whole range, on the test split, as published BranchyNet curves do.

A description of the network, not a choice: nothing is ever selected from it. Owns metrics/sweep.json and
plots/sweep.csv.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from offramp.costs import Costs
from offramp.evaluation import MEGA, exit_table
from offramp.files import write_csv, write_json
from offramp.outcomes import Outcomes
from offramp.replay import Replay, replay


def sweep(outcomes: Outcomes, costs: Costs, n_cutoffs: int) -> Iterator[tuple[float, Replay]]:
    """Yield `n_cutoffs` cutoffs from 0 to ln(classes), ends included, each with its replay."""
    for cutoff in np.linspace(0, math.log(len(outcomes.class_names)), n_cutoffs):
        yield float(cutoff), at_cutoff(outcomes, costs, float(cutoff))


def at_cutoff(outcomes: Outcomes, costs: Costs, cutoff: float) -> Replay:
    """Replay the policy with this cutoff at every side exit, all of them enabled."""
    return replay(outcomes, (cutoff,) * (outcomes.n_exits - 1) + (math.inf,), costs)


def write_sweep(path: Path, outcomes: Outcomes, costs: Costs, n_cutoffs: int) -> None:
    """Write accuracy, mean cost and every exit's share (columns exit_1 …) per cutoff."""
    columns = ["cutoff", "accuracy", "mac_ratio", "mmacs", *outcomes.exits]
    write_csv(
        path, columns, (_row(cutoff, result, outcomes.exits) for cutoff, result in sweep(outcomes, costs, n_cutoffs))
    )


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
    write_json(path, detail)
    return detail


def _row(cutoff: float, result: Replay, exits: list[str]) -> dict[str, Any]:
    shares = result.samples_at_exits / len(result.taken)
    row = {
        "cutoff": cutoff,
        "accuracy": result.accuracy,
        "mac_ratio": result.cost_ratio,
        "mmacs": result.mean_cost / MEGA,
    }
    return row | dict(zip(exits, shares.tolist(), strict=True))
