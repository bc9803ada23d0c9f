"""Prediction depth: how deep in the network the answer for a sample settles, and how that meets where it leaves.

The depth of a sample is the first exit from which on every exit answers as the full network does. Two kinds:
`logits`, where the exits' own heads answer, for every sample of a cache; and `knn`, where the nearest training images
answer after every segment (`studies.depth.nearest_neighbours`), for some samples.

Owns metrics/depth.json, plots/depth.csv and plots/depth_exits.csv.

Reference: Baldock, Maennel & Neyshabur (NeurIPS 2021), Deep Learning Through the Lens of Example Difficulty, section 2:
a prediction is made at depth l if the nearest neighbours after layer l − 1 answer otherwise than the network and those
after every layer from l on answer as it does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.evaluation.tables import Row, accuracy_of
from offramp.policies.outcomes import Outcomes
from offramp.policies.replay import Replay
from offramp.project.errors import InputError
from offramp.project.tables import write_table
from offramp.statistics.bootstrap import spearman
from studies.depth.probe_table import ProbeTable

KINDS = ("logits", "knn")
INTERVAL = ["accuracy", "accuracy_low", "accuracy_high"]
COLUMNS = ["kind", "depth", "samples", "share", *(f"full_{name}" for name in INTERVAL), *INTERVAL]
COLUMNS += ["mean_exit", "mean_difficulty"]
EXIT_COLUMNS = ["kind", "depth", "exit", "samples", "share"]


def prediction_depth(agrees: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the first exit, from 0, from which on all agree (samples,), for `agrees` (samples, exits).

    `agrees` says whether an exit, or the probe after its segment, answers as the full network does. The last exit where
    even the last one does not agree: only the last head decides then.
    """
    settled = np.logical_and.accumulate(agrees[:, ::-1], axis=1)[:, ::-1].copy()
    settled[:, -1] = True
    return settled.argmax(axis=1)


@dataclass(frozen=True)
class Depths:
    """One kind of depth of some samples, from 0, beside what became of these samples; all (samples,)."""

    kind: str
    depth: NDArray[np.intp]
    full: Replay
    policy: Replay
    difficulty: NDArray[np.floating] | None
    exits: list[str]

    @classmethod
    def of_logits(
        cls, outcomes: Outcomes, full: Replay, policy: Replay, difficulty: NDArray[np.floating] | None
    ) -> "Depths":
        """Return the depths that the exits' own answers give, of every sample of a cache."""
        return cls("logits", prediction_depth(outcomes.agrees), full, policy, difficulty, outcomes.exits)

    def probed(self, votes: ProbeTable, rows: NDArray[np.intp]) -> "Depths":
        """Return the depths that nearest neighbours give, for the samples that stand at `rows` of these."""
        depth = prediction_depth(votes.votes == votes.answer[:, None])
        chosen = self.take(rows)
        return replace(chosen, kind="knn", depth=depth)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> "Depths":
        """Return these samples, by mask or position."""
        return replace(
            self,
            depth=self.depth[rows],
            full=_part(self.full, rows),
            policy=_part(self.policy, rows),
            difficulty=None if self.difficulty is None else self.difficulty[rows],
        )

    def table(self) -> Iterator[Row]:
        """Yield one row per depth; one that no sample has, has neither accuracy nor means. Exits are counted from 1."""
        for k, name in enumerate(self.exits):
            here = self.take(self.depth == k)
            n = len(here.depth)
            row: Row = {"kind": self.kind, "depth": name, "samples": n, "share": n / len(self.depth)}
            if n:
                row |= {f"full_{key}": value for key, value in accuracy_of(here.full).items()}
                row |= accuracy_of(here.policy)
                row["mean_exit"] = float(here.policy.taken.mean()) + 1
                row |= {} if here.difficulty is None else {"mean_difficulty": _mean(here.difficulty)}
            yield row

    def exits_table(self) -> Iterator[Row]:
        """Yield, per depth and exit, the samples that left there and their share of those of this depth."""
        for k, name in enumerate(self.exits):
            taken = np.bincount(self.policy.taken[self.depth == k], minlength=len(self.exits))
            for exit_name, n in zip(self.exits, taken.tolist(), strict=True):
                share = {"share": n / int(taken.sum())} if taken.any() else {}
                yield {"kind": self.kind, "depth": name, "exit": exit_name, "samples": n, **share}

    def summary(self) -> Row:
        """Return means, how many leave before, at and after their depth, and rank correlations with the depth.

        A correlation of a constant does not exist and is left out. Exits and depths are counted from 1.
        """
        taken = self.policy.taken
        row: Row = {"samples": len(taken), "mean_depth": _mean(self.depth) + 1, "mean_exit": _mean(taken) + 1}
        row |= {"leave_before": _mean(taken < self.depth), "leave_at": _mean(taken == self.depth)}
        row["leave_after"] = _mean(taken > self.depth)
        row |= _named("exit_taken", spearman(self.depth, taken, self.policy.batch))
        return row | ({} if self.difficulty is None else _named("difficulty", spearman(self.depth, self.difficulty)))


def rows_of(outcomes: Outcomes, sample: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return where these samples (n,) stand in the outcomes. Raises InputError for one that is not there."""
    order = np.argsort(outcomes.sample, kind="stable")
    place = np.searchsorted(outcomes.sample, sample, sorter=order).clip(max=len(outcomes) - 1)
    rows: NDArray[np.intp] = order[place]
    absent = sample[outcomes.sample[rows] != sample]
    if len(absent):
        raise InputError(
            f"sample {absent[0]} was probed and is not in the test logits; run `dvc repro studies/depth/dvc.yaml:probe`"
        )
    return rows


def summarise(policy: str, logits: Depths, knn: Depths, votes: ProbeTable, outcomes: Outcomes) -> Row:
    """Return metrics/depth.json. `knn` and `votes` are of the same samples, in one order."""
    rows = rows_of(outcomes, votes.sample)
    probed = knn.summary() | _named("logits_depth", spearman(knn.depth, logits.depth[rows]))
    right = votes.votes == outcomes.label[rows][:, None]
    probed["unsettled"] = _mean(votes.votes[:, -1] != votes.answer)
    probed |= {"neighbours": votes.neighbours, "support": votes.support}
    probed["probe_accuracy"] = dict(zip(outcomes.exits, right.mean(axis=0).tolist(), strict=True))
    return {"policy": policy, "logits": logits.summary(), "knn": probed}


def write_depths(table: Path, exits_table: Path, depths: Sequence[Depths]) -> None:
    write_table(table, COLUMNS, (row for kind in depths for row in kind.table()))
    write_table(exits_table, EXIT_COLUMNS, (row for kind in depths for row in kind.exits_table()))


def describe(summary: Row) -> str:
    """Return a line per kind."""
    lines = []
    for kind in KINDS:
        row = summary[kind]
        about = f"{kind:<7} {row['samples']} images: mean depth {row['mean_depth']:.2f}"
        about += f", mean exit {row['mean_exit']:.2f}"
        with_exit = f", rank correlation {row['exit_taken']['spearman']:.3f}" if "exit_taken" in row else ""
        graded = f", with difficulty {row['difficulty']['spearman']:.3f}" if "difficulty" in row else ""
        lines.append(f"{about}{with_exit}{graded}")
    return "\n".join(lines)


def _part(result: Replay, rows: NDArray[Any]) -> Replay:
    return result.part(rows)


def _named(name: str, found: dict[str, float]) -> Row:
    return {name: found} if found else {}


def _mean(values: NDArray[Any]) -> float:
    return float(np.asarray(values, np.float64).mean())
