"""Rows of the tables: exits, baselines, difficulty, histograms of uncertainties, the images of the gallery.

Accuracies have Wilson's interval, or one of batches.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.policies.costs import MACS, Costs
from offramp.policies.outcomes import Outcomes
from offramp.policies.policy import Policies, Policy, full_network
from offramp.policies.replay import Replay, replay
from offramp.project.tables import write_table
from offramp.scores.registry import Score
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


BINS = 40
TAIL = 0.005  # share of samples on either side that the outermost bins of an unbounded score take in
PER_EXIT = 10
UNCERTAINTY_COLUMNS = ["exit", "score", "low", "high", "right", "wrong", "threshold"]
GALLERY_COLUMNS = ["exit", "share", "place", "sample", "right"]


def write_uncertainty(path: Path, outcomes: Outcomes, content: Policies) -> None:
    """Write one histogram per exit of all test samples; values beyond the outermost bins are counted in these.

    `threshold` is the selected policy's finite one. An exit without an uncertainty has one row without bin edges.
    """
    write_table(path, UNCERTAINTY_COLUMNS, _uncertainty_rows(outcomes, content))


def _uncertainty_rows(outcomes: Outcomes, content: Policies) -> Iterator[Row]:
    score, n_exits = content.scoring.record, outcomes.n_exits
    n_scored = n_exits - 1 if score.compares_exits and n_exits > 1 else n_exits
    edges = bin_edges(outcomes.uncertainty[:, :n_scored], score, len(outcomes.class_names))
    for k, (name, threshold) in enumerate(zip(outcomes.exits, content.selected.thresholds, strict=True)):
        right = outcomes.correct[:, k]
        row: Row = {"exit": name, "score": score.name}
        if k >= n_scored:
            yield row | {"right": int(right.sum()), "wrong": int((~right).sum())}
            continue
        if threshold is not None and math.isfinite(threshold):
            row["threshold"] = threshold
        values = np.clip(outcomes.uncertainty[:, k], edges[0], edges[-1])
        counts = zip(*(np.histogram(values[part], edges)[0].tolist() for part in (right, ~right)), strict=True)
        for low, high, (n_right, n_wrong) in zip(edges[:-1].tolist(), edges[1:].tolist(), counts, strict=True):
            yield row | {"low": low, "high": high, "right": n_right, "wrong": n_wrong}


def bin_edges(uncertainty: NDArray[np.float64], score: Score, n_classes: int) -> NDArray[np.float64]:
    """Return the edges of equal bins: the whole range of a bounded score, else all but the outermost samples."""
    if score.limits is not None:
        low, high = score.limits(n_classes)
    else:
        low, high = np.quantile(uncertainty, [TAIL, 1 - TAIL]).tolist()
    return np.linspace(low, high if high > low else low + 1, BINS + 1)


def write_gallery(path: Path, outcomes: Outcomes, selected: Replay) -> None:
    """Write, per exit, up to ten samples that exit there, evenly from certain to uncertain; at least one row."""
    write_table(path, GALLERY_COLUMNS, _gallery_rows(outcomes, selected))


def _gallery_rows(outcomes: Outcomes, selected: Replay) -> Iterator[Row]:
    for k, name in enumerate(outcomes.exits):
        here = np.flatnonzero(selected.taken == k)
        ordered = here[np.argsort(outcomes.uncertainty[here, k], kind="stable")]
        chosen = ordered[np.unique(np.linspace(0, len(ordered) - 1, min(PER_EXIT, len(ordered))).astype(int))]
        about: Row = {"exit": name, "share": len(here) / len(outcomes)}
        if len(here) == 0:
            yield about
        for place, row in enumerate(chosen.tolist()):
            yield about | {"place": place, "sample": int(outcomes.sample[row]), "right": bool(selected.correct[row])}
