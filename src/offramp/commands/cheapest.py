"""`offramp cheapest`: the lowest MACs that keep an accuracy, sample by sample and in whole batches."""

import argparse
import json
from pathlib import Path
from typing import Any

from offramp.commands.options import add_command, up_to
from offramp.errors import InputError

SCORES = ("energy", "entropy", "least_confidence", "margin")
EPILOG = """\
One cutoff for every exit is chosen on the validation cache: for samples that leave one by one, and for batches
(consecutive samples, by their ids) that leave whole once their largest, or their mean, uncertainty is at most the
cutoff. MACs are those of the network as it stands (plain) and with early exit, per image and over all images.
Accuracies on val are of the images that chose the cutoff; those on test, with --test, are held out.
"""


def add(commands: Any) -> None:
    purpose = "find the lowest MACs that keep an accuracy, for single samples and for whole batches"
    cheapest = add_command(commands, "cheapest", purpose, EPILOG)
    cheapest.add_argument("--accuracy", type=float, required=True, help="accuracy to keep, in (0, 1], like 0.9")
    cheapest.add_argument("--val", type=Path, required=True, help="logit cache on which cutoffs are chosen")
    cheapest.add_argument(
        "--costs", type=Path, required=True, help="MACs of every exit: a file like metrics/costs.json"
    )
    cheapest.add_argument("--test", type=Path, help="logit cache of held-out images, to be shown beside")
    cheapest.add_argument("--batch-size", type=up_to(1_000_000), default=64, metavar="N", help="default 64")
    cheapest.add_argument("--score", choices=SCORES, default="entropy", help="default entropy")
    cheapest.add_argument("--json", action="store_true", help="print JSON instead of a table")
    cheapest.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from offramp.cheapest import TEST, VAL, Question, answer, describe, read_split
    from offramp.costs import LatencyRow, read_costs

    if not 0 < options.accuracy <= 1:
        raise InputError(f"--accuracy must be a number in (0, 1]; got {options.accuracy:g}")
    costs = read_costs(options.costs, LatencyRow())
    if costs.measured:
        raise InputError(f"--costs takes MACs, a file like metrics/costs.json; {options.costs} holds times")
    paths = {VAL: options.val} | ({TEST: options.test} if options.test else {})
    splits = {name: read_split(path, name, options.score, costs) for name, path in paths.items()}
    content = answer(Question(options.accuracy, options.batch_size, options.score), costs, splits)
    print(json.dumps(content, indent=2, allow_nan=False) if options.json else describe(content))
