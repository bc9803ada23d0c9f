"""The lowest MACs that keep an accuracy: one cutoff, chosen on val, for single samples and for whole batches.

Per rule (`threshold`, `batch_max`, `batch_mean`): the cutoff with the lowest mean cost whose accuracy on val is at
least the one wanted, and MACs per image and over all images of the plain network and of early exit. On val the
accuracy is in-sample, of the rows that chose the cutoff; the test split, where it is given, chose nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offramp.cache.reading import open_cache
from offramp.calibration.batch import cheapest_tolerance
from offramp.calibration.choice import Choice
from offramp.calibration.shared import cheapest_cutoff
from offramp.costs import Costs
from offramp.errors import InputError
from offramp.evaluation.tables import accuracy_of, full_replay
from offramp.outcomes import Outcomes, read_outcomes
from offramp.replay import Replay, replay, require_same_exits
from offramp.rules import REDUCE, Rule
from offramp.scoring import Scoring

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
    size, splits = content["batch_size"], list(content["full"])
    labels = {name: WORDS[name].format(size) for name in content["rules"]}
    notes, lines = [], [_line("plain network", "", split, content["full"][split]) for split in splits]
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
        lines += [_line(labels[name], shown, split, entry[split]) for split in splits]
    title = f"the lowest MACs that keep an accuracy of {content['accuracy']:g} on val, where it is in-sample"
    heading = f"{'exit':<24}{'cutoff':>10}  {'split':<6}{'images':>7}  {'accuracy (95 %)':<25}"
    heading += f"{'MACs an image':>14}{'MACs in all':>14}{'of plain':>10}"
    return "\n".join([*notes, title, heading, *lines])


def _choices(question: Question, costs: Costs, val: Outcomes) -> Iterator[tuple[str, Choice]]:
    target, size = question.accuracy, question.batch_size
    found = cheapest_cutoff(val, costs, target)
    yield Rule.name, _choice(found.thresholds, found.accuracy, target, Rule())
    for reduce in REDUCE:
        found, rule = cheapest_tolerance(val, costs, target, size, reduce)
        yield f"batch_{reduce}", _choice(found.thresholds, found.accuracy, target, rule)


def _choice(thresholds: tuple[float | None, ...], accuracy: float, target: float, rule: Rule) -> Choice:
    return Choice(thresholds, accuracy >= target, nearest=accuracy, rule=rule)


def _figures(result: Replay) -> Row:
    """Return the figures of one split; totals are over its images, `ratio` that of the totals."""
    n = len(result.taken)
    row: Row = {"samples": n, **accuracy_of(result)}
    row |= {"macs": result.mean_cost, "total_macs": round(result.total_cost)}
    return row | {"full_total_macs": round(result.full_cost * n), "mac_ratio": result.cost_ratio}


def _line(label: str, cutoff: str, split: str, row: Row) -> str:
    accuracy = f"{row['accuracy']:.4f} ({row['accuracy_low']:.4f} to {row['accuracy_high']:.4f})"
    return (
        f"{label:<24}{cutoff:>10}  {split:<6}{row['samples']:>7}  {accuracy:<25}{_macs(row['macs']):>14}"
        f"{_macs(row['total_macs']):>14}{row['mac_ratio']:>10.3f}"
    )


def _macs(number: float) -> str:
    """Return a number of MACs with four digits and its prefix."""
    for size, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.4g} {prefix}"
    return f"{number:.4g}"
