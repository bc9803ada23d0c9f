"""Rows of the tables: exits, baselines, difficulty. Accuracies have Wilson's interval, or one of batches."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.policies.costs import MACS, Costs
from offramp.policies.outcomes import Outcomes
from offramp.policies.policy import Policy, full_network
from offramp.policies.replay import Replay, replay
from offramp.project.tables import write_table
from offramp.statistics.bootstrap import bootstrap_clusters, cluster_sums
from offramp.statistics.intervals import LEVEL, wilson

MEGA = 1e6
DIFFICULTY_BINS = 10
DIFFICULTY_COLUMNS = ["difficulty_low", "difficulty_high", "exit", "samples", "share", "accuracy"]
Row = dict[str, Any]


def accuracy_of(result: Replay, k: int | None = None, level: float = LEVEL) -> Row:
    """Return the accuracy of all samples, or of those that left at exit `k`, with its interval.

    Wilson's; where batches were decided, no narrower than a bootstrap of these. There must be such a sample.
    """
    correct = result.correct if k is None else result.correct[result.taken == k]
    value = int(correct.sum()) / len(correct)
    low, high = wilson(int(correct.sum()), len(correct), level)
    if result.batch is not None:
        batch = result.batch if k is None else result.batch[result.taken == k]
        sums = cluster_sums(correct[:, None].astype(np.float64), batch)
        low, high = hull((low, high), bootstrap_clusters(*sums, [(0.0, 1.0)], level)[0].tolist())
    return {"accuracy": value, "accuracy_low": low, "accuracy_high": high}


def hull(one: tuple[float, float], other: Sequence[float]) -> tuple[float, float]:
    """Return the interval that holds two: without a difference a bootstrap has no width, a score interval has."""
    return min(one[0], other[0]), max(one[1], other[1])


def cost_of(result: Replay) -> Row:
    """Return mean cost in million MACs or ms and as a fraction; a speedup, of MACs alone, unless costs are 0."""
    row = mean_cost(result) | {result.ratio: result.cost_ratio}
    return row | ({"speedup": 1 / result.cost_ratio} if result.unit == MACS and result.cost_ratio > 0 else {})


def mean_cost(result: Replay) -> Row:
    return _in_unit(result.mean_cost, result)


def _in_unit(cost: float, result: Replay) -> Row:
    return {"mmacs": cost / MEGA} if result.unit == MACS else {result.unit: cost}


def exit_table(result: Replay, exits: list[str]) -> list[Row]:
    """Return one row per exit, without accuracy and interval where nobody left; `mmacs` (`ms`) is one sample's cost.

    Under a route that is the mean of those that left there; it is left out where nobody did.
    """
    rows = []
    for k, name in enumerate(exits):
        samples = int(result.samples_at_exits[k])
        row: Row = {"exit": name, "samples": samples, "share": samples / len(result.taken)}
        if samples:
            row |= accuracy_of(result, k)
        known = np.isfinite(result.cost_at_exits[k])  # of a route, that of those who left here
        rows.append(row | (_in_unit(float(result.cost_at_exits[k]), result) if known else {}))
    return rows


def full_replay(outcomes: Outcomes, costs: Costs) -> Replay:
    return replay(outcomes, Policy(full_network(outcomes.n_exits)), costs)


def baselines(outcomes: Outcomes, costs: Costs) -> Iterator[Row]:
    """Yield the full network, `static` networks that end at exit k, and the `oracle`."""
    n = len(outcomes)
    full = full_replay(outcomes, costs)
    yield {"method": "full", **accuracy_of(full), **cost_of(full)}
    for k, name in enumerate(outcomes.exits):
        static = Replay(np.full(n, k), outcomes.correct[:, k], costs.static(), costs.full, costs.unit)
        yield {"method": "static", "exit": name, **accuracy_of(static), **cost_of(static)}
    oracle = _oracle(outcomes, costs)
    yield {"method": "oracle", **accuracy_of(oracle), **cost_of(oracle)}


def _oracle(outcomes: Outcomes, costs: Costs) -> Replay:
    """Leave at the first exit that is right, knowing the label; pay every head on the way."""
    first_correct = np.where(outcomes.correct.any(axis=1), outcomes.correct.argmax(axis=1), outcomes.n_exits - 1)
    correct = outcomes.correct[np.arange(len(outcomes)), first_correct]
    return Replay(first_correct, correct, costs.at_exits([True] * outcomes.n_exits), costs.full, costs.unit)


def write_difficulty(path: Path, taken: Replay, exits: list[str], difficulty: NDArray[np.floating] | None) -> None:
    """Write where samples of each difficulty left, in ten equal bins of [0, 1]; only the header without difficulties.

    `difficulty` is (samples,) in the order of the replay.
    """
    write_table(path, DIFFICULTY_COLUMNS, [] if difficulty is None else _difficulty_rows(taken, exits, difficulty))


def _difficulty_rows(taken: Replay, exits: list[str], difficulty: NDArray[np.floating]) -> Iterator[Row]:
    edges = np.linspace(0, 1, DIFFICULTY_BINS + 1)
    bins = np.digitize(difficulty, edges[1:-1])
    for number in range(DIFFICULTY_BINS):
        in_bin = bins == number
        if not in_bin.any():
            continue
        for row in exit_table(taken.part(in_bin), exits):
            low, high = round(float(edges[number]), 6), round(float(edges[number + 1]), 6)
            yield {"difficulty_low": low, "difficulty_high": high} | {
                key: row[key] for key in DIFFICULTY_COLUMNS if key in row
            }
