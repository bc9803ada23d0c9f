"""`offramp plan`: what a number of labelled rows can certify."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from offramp.calibration.planning import (
    Plan,
    Row,
    _limit,
    certifiable_loss,
    fewest_rows,
    in_points,
    power_at,
    rows_needed,
)
from offramp.commands.options import add_command


def describe(plan: Plan, rows: Sequence[Row]) -> str:
    """Return the answer to the plan's own numbers, the table of `rows` and what every term means."""
    return "\n\n".join((_answer(plan), _grid(plan, rows), _terms(plan)))


def _answer(plan: Plan) -> str:
    q, limit, wanted = plan.example, _limit(plan), f"with power {plan.power:g}"
    source = "assumed: --discordance not given" if plan.discordance is None else "given"
    text = f"For a policy that loses no accuracy, at discordance {q:g} ({source}):\n"
    if plan.labels is not None:
        loss = in_points(certifiable_loss(plan.labels, plan.delta, q, plan.power))
        chance = power_at(plan.labels, plan.max_loss, plan.delta, q)
        text += f"  {plan.labels:,} certify rows certify a loss of at most {loss} points {wanted},\n"
        text += f"  and a loss of at most {limit} with power {chance:.2f}.\n"
    needed = rows_needed(plan.max_loss, plan.delta, q, plan.power)
    text += f"  A loss of at most {limit} needs {needed:,} certify rows {wanted};\n"
    half = plan.max_loss / 2
    return (
        text
        + f"  {rows_needed(plan.max_loss, plan.delta, max(q, half), plan.power, half):,} if half of it is really lost."
    )


def _grid(plan: Plan, rows: Sequence[Row]) -> str:
    cells = {(row.n, row.discordance): f"{in_points(row.certifiable_loss):>8} {row.power:>8.2f}" for row in rows}
    header = "certify rows" + "".join(f" | {f'discordance {q:g}':>17}" for q in plan.discordances)
    lines = [f"{n:>12,}" + "".join(f" | {cells[n, q]}" for q in plan.discordances) for n in plan.rows]
    title = f"Left: the loss (points) certified with power {plan.power:g}. Right: the power for {_limit(plan)}."
    return "\n".join([title, header, "-" * len(header), *lines])


def _terms(plan: Plan) -> str:
    return f"""\
point         0.01 of accuracy.
certify rows  the rows that test policies: validation rows × (1 − tune_fraction). The tune rows need no label for it.
discordance   the share of rows on which just one of full network and policy is right. Without labels, the share of
              rows whose early answer differs from the full network's is an upper bound: use that to be safe.
labels        needed only for the certify rows whose early and full answers differ; the others count as they are.
power         the probability that such a policy gets its certificate.
delta         {plan.delta:g}: at most the probability that a policy gets one although it loses more.
fewest rows   {fewest_rows(plan.max_loss, plan.delta):,} certify rows for {_limit(plan)}:
              with fewer, no policy is certified that changes no answer, only one that clearly gains accuracy."""


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
    from offramp.calibration.planning import Plan, table
    from offramp.figures.planning import check_suffix, draw_plan

    plan = Plan(options.max_loss, options.delta, options.labels, options.discordance, options.power)
    if options.figure is not None:
        check_suffix(options.figure)
    print(describe(plan, table(plan)))
    if options.figure is not None:
        draw_plan(options.figure, plan)
