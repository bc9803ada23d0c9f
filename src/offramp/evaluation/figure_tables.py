"""Tables for figures that need more than the evaluation: histograms of uncertainties, and the images of the gallery.

Owns plots/uncertainty.csv and plots/gallery.csv. Both are about the selected policy and the test split.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.evaluation.tables import Row
from offramp.policies.outcomes import Outcomes
from offramp.policies.policy import Policies
from offramp.policies.replay import Replay
from offramp.project.tables import write_table
from offramp.scores.registry import Score

BINS = 40
TAIL = 0.005  # share of samples on either side that the outermost bins of an unbounded score take in
PER_EXIT = 10
UNCERTAINTY_COLUMNS = ["exit", "score", "low", "high", "right", "wrong", "threshold"]
GALLERY_COLUMNS = ["exit", "share", "place", "sample", "right"]


def write_uncertainty(path: Path, outcomes: Outcomes, content: Policies) -> None:
    """Write one histogram per exit of all test samples, right and wrong answers apart.

    Values beyond the outermost bins are counted in these. `threshold` is the selected policy's, empty where it has no
    finite one. An exit without an uncertainty (the last one under score `change`) has one row without bin edges.
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
    """Write, per exit, the ids of up to ten samples that exit there, evenly from certain to uncertain.

    An exit that no sample takes has one row without a sample.
    """
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
