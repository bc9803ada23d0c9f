"""The lowest MACs that keep an accuracy: one cutoff, chosen on val, for single samples and for whole batches.

Per rule (`threshold`, `batch_max`, `batch_mean`): the cutoff with the lowest mean cost whose accuracy on val is at
least the one wanted, and MACs per image and over all images of the plain network and of early exit. On val the
accuracy is in-sample, of the rows that chose the cutoff; the test split, where it is given, chose nothing.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from offramp.cache.reading import open_cache
from offramp.calibration.shared import cheapest_cutoff, cheapest_tolerance
from offramp.commands.options import add_command, up_to
from offramp.evaluation.tables import accuracy_of, full_replay
from offramp.policies.costs import Costs
from offramp.policies.outcomes import Outcomes, read_outcomes
from offramp.policies.policy import Policy
from offramp.policies.replay import Replay, replay, require_same_exits
from offramp.policies.rules import REDUCE, Rule
from offramp.project.errors import InputError
from offramp.scores.registry import SCORES
from offramp.scores.scoring import Scoring

Row = dict[str, Any]
VAL, TEST = "val", "test"
WORDS = {"threshold": "sample by sample", "batch_max": "batches of {}, largest", "batch_mean": "batches of {}, mean"}


@dataclass(frozen=True)
class Question:
    """The accuracy to keep, in (0, 1], the size of batches, and the score at temperature 1."""

    accuracy: float
    batch_size: int
    score: str


def read_split(path: Path, split: str, score: str, costs: Costs) -> Outcomes:
    """Return the outcomes of a cache. Raises InputError where it says it is another split or does not fit the costs."""
    cache = open_cache(path)
    told = cache.metadata.get("split", split)
    if told != split:
        raise InputError(f"--{split} {path} is the {told} split, as its metadata says")
    outcomes = read_outcomes(cache, Scoring.plain(score, cache.exits))
    require_same_exits(outcomes, costs)
    return outcomes


def answer(question: Question, costs: Costs, splits: dict[str, Outcomes]) -> Row:
    """Return what `--json` prints; `splits` holds val, on which cutoffs are chosen, and perhaps test.

    A rule that cannot keep the accuracy has `feasible: false`, `nearest`, the highest accuracy that it reaches, and
    the figures of the cutoff that does. `cutoff` is left out where the full network, no exit, is the cheapest.
    """
    content: Row = {"accuracy": question.accuracy, "score": question.score, "batch_size": question.batch_size}
    content["full"] = {name: _figures(full_replay(rows, costs)) for name, rows in splits.items()}
    content["rules"] = {}
    for name, choice in _choices(question, costs, splits[VAL]):
        entry: Row = {"feasible": choice.feasible}
        entry |= {} if choice.feasible else {"nearest": choice.nearest}
        cutoff = next((limit for limit in choice.thresholds[:-1] if limit is not None), None)
        entry |= {} if cutoff is None else {"cutoff": cutoff if cutoff < float("inf") else "inf"}
        content["rules"][name] = entry | {
            split: _figures(replay(rows, choice, costs)) for split, rows in splits.items()
        }
    return content


def describe(content: Row) -> str:
    """Return the answer as a table; what cannot be met is said first."""
    labels = {name: WORDS[name].format(content["batch_size"]) for name in content["rules"]}
    notes, rows = [], [_shown("plain network", "", *part) for part in content["full"].items()]
    for name, entry in content["rules"].items():
        if not entry["feasible"]:
            notes.append(
                f"INFEASIBLE, {labels[name]}: no cutoff keeps {content['accuracy']:g} on val; the most accurate one, "
                f"shown below, reaches {entry['nearest']:.4f}"
            )
        elif "cutoff" not in entry:
            notes.append(f"{labels[name]}: every cutoff that keeps it costs more than the network without exits")
        cutoff = entry.get("cutoff", "none")
        shown = cutoff if isinstance(cutoff, str) else f"{cutoff:.5g}"
        rows += [_shown(labels[name], shown, split, entry[split]) for split in content["full"]]
    title = f"the lowest MACs that keep an accuracy of {content['accuracy']:g} on val, where it is in-sample"
    return "\n".join([*notes, title, pd.DataFrame(rows).to_string(index=False)])


def _shown(label: str, cutoff: str, split: str, row: Row) -> dict[str, str]:
    return {
        "exit": label,
        "cutoff": cutoff,
        "split": split,
        "images": str(row["samples"]),
        "accuracy (95 %)": f"{row['accuracy']:.4f} ({row['accuracy_low']:.4f} to {row['accuracy_high']:.4f})",
        "MACs an image": f"{row['macs']:.4g}",
        "MACs in all": f"{row['total_macs']:.4g}",
        "of plain": f"{row['mac_ratio']:.3f}",
    }


def _choices(question: Question, costs: Costs, val: Outcomes) -> Iterator[tuple[str, Policy]]:
    target, size = question.accuracy, question.batch_size
    choices = {Rule.name: (cheapest_cutoff(val, costs, target), Rule())}
    choices |= {f"batch_{reduce}": cheapest_tolerance(val, costs, target, size, reduce) for reduce in REDUCE}
    for name, (found, rule) in choices.items():
        yield name, Policy(found.thresholds, rule, feasible=found.accuracy >= target, nearest=found.accuracy)


def _figures(result: Replay) -> Row:
    """Return the figures of one split; totals are over its images, `ratio` that of the totals."""
    n = len(result.taken)
    row: Row = {"samples": n, **accuracy_of(result)}
    row |= {"macs": result.mean_cost, "total_macs": round(result.total_cost)}
    return row | {"full_total_macs": round(result.full_cost * n), "mac_ratio": result.cost_ratio}


EPILOG = """\
One cutoff for every exit is chosen on the validation cache: for samples that leave one by one, and for batches
(consecutive samples, by their ids) that leave whole once their largest, or their mean, uncertainty is at most the
cutoff. MACs are those of the network as it stands (plain) and with early exit, per image and over all images.
Accuracies on val are of the images that chose the cutoff; those on test, with --test, are held out.
"""


def add(commands: Any) -> None:
    formulas = sorted(name for name, score in SCORES.items() if not score.fitted)
    purpose = "find the lowest MACs that keep an accuracy, for single samples and for whole batches"
    cheapest = add_command(commands, "cheapest", purpose, EPILOG)
    cheapest.add_argument("--accuracy", type=float, required=True, help="accuracy to keep, in (0, 1], like 0.9")
    cheapest.add_argument("--val", type=Path, required=True, help="logit cache on which cutoffs are chosen")
    cheapest.add_argument(
        "--costs", type=Path, required=True, help="MACs of every exit: a file like metrics/costs.json"
    )
    cheapest.add_argument("--test", type=Path, help="logit cache of held-out images, to be shown beside")
    cheapest.add_argument("--batch-size", type=up_to(1_000_000), default=64, metavar="N", help="default 64")
    cheapest.add_argument("--score", choices=formulas, default="entropy", help="default entropy")
    cheapest.add_argument("--json", action="store_true", help="print JSON instead of a table")
    cheapest.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from offramp.policies.costs import LatencyRow, read_costs

    if not 0 < options.accuracy <= 1:
        raise InputError(f"--accuracy must be a number in (0, 1]; got {options.accuracy:g}")
    costs = read_costs(options.costs, LatencyRow())
    if costs.measured:
        raise InputError(f"--costs takes MACs, a file like metrics/costs.json; {options.costs} holds times")
    paths = {VAL: options.val} | ({TEST: options.test} if options.test else {})
    splits = {name: read_split(path, name, options.score, costs) for name, path in paths.items()}
    content = answer(Question(options.accuracy, options.batch_size, options.score), costs, splits)
    print(json.dumps(content, indent=2, allow_nan=False) if options.json else describe(content))
