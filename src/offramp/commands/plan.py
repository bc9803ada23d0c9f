"""`offramp plan`: what a number of labelled rows can certify."""

import argparse
from pathlib import Path
from typing import Any

from offramp.commands.options import add_command


def add(commands: Any) -> None:
    plan = add_command(commands, "plan", "what loss a number of labelled rows can certify, before labelling them")
    plan.add_argument("--max-loss", type=float, default=0.01, help="accuracy that may be lost; default 0.01, one point")
    plan.add_argument("--delta", type=float, default=0.1, help="chance, at most, of a wrong certificate; default 0.1")
    plan.add_argument("--labels", type=int, help="certify rows that you could label")
    plan.add_argument("--discordance", type=float, help="share of rows where just one of early and full is right")
    plan.add_argument("--power", type=float, default=0.8, help="chance to certify a loss-free policy; default 0.8")
    plan.add_argument("--figure", type=Path, help="draw the picture here: .png, .svg or .pdf")
    plan.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from offramp.figures.planning import check_suffix, draw_plan
    from offramp.planning import Plan, describe, table

    plan = Plan(options.max_loss, options.delta, options.labels, options.discordance, options.power)
    if options.figure is not None:
        check_suffix(options.figure)
    print(describe(plan, table(plan)))
    if options.figure is not None:
        draw_plan(options.figure, plan)
