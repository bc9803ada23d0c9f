"""Where samples leave, and how accurate each exit is, per method and target."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from offramp.figures.style import COLOURS, exit_colours, figure, names_in, read_table


def draw_exits(folder: Path, table: Path) -> None:
    """Draw one row per method: exit shares, then the accuracy of those who left, both per target."""
    rows = read_table(table)
    methods, exits = names_in(rows, "method"), names_in(rows, "exit")
    with figure(folder, "exits", 11, 3.2 * len(methods)) as drawn:
        grid = drawn.subplots(len(methods), 2, squeeze=False)
        for number, method in enumerate(methods):
            part = [row for row in rows if row["method"] == method]
            _draw_shares(grid[number][0], part, exits)
            _draw_accuracies(grid[number][1], part, exits)
            grid[number][0].set_title(f"{method}: where test samples leave")
            what = "at each side exit" if method == "per_exit" else "overall"
            grid[number][1].set_title(f"{method}: accuracy of those who left (target holds {what})")
        handles, labels = grid[0][0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside right center")


def _draw_shares(axes: Axes, rows: list[dict[str, Any]], exits: list[str]) -> None:
    targets = names_in(rows, "target")
    left = [0.0] * len(targets)
    for name, colour in zip(exits, exit_colours(len(exits)), strict=True):
        shares = [next(row["share"] for row in rows if (row["target"], row["exit"]) == (t, name)) for t in targets]
        axes.barh(range(len(targets)), shares, left=left, color=colour, label=name)
        left = [start + share for start, share in zip(left, shares, strict=True)]
    axes.set_yticks(range(len(targets)), [f"{target:g}" for target in targets])
    axes.set_ylabel("target accuracy")
    axes.set_xlabel("share of test samples")
    axes.set_xlim(0, 1)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")


def _draw_accuracies(axes: Axes, rows: list[dict[str, Any]], exits: list[str]) -> None:
    targets = names_in(rows, "target")
    width = 0.8 / len(exits)
    for k, (name, colour) in enumerate(zip(exits, exit_colours(len(exits)), strict=True)):
        for place, target in enumerate(targets):
            row = next(row for row in rows if (row["target"], row["exit"]) == (target, name))
            if row["accuracy"] is None:
                continue
            x = place + (k - (len(exits) - 1) / 2) * width
            low, high = row["accuracy"] - row["accuracy_low"], row["accuracy_high"] - row["accuracy"]
            axes.errorbar(x, row["accuracy"], [[low], [high]], fmt="o", color=colour, markersize=4, elinewidth=1)
    for place, target in enumerate(targets):
        label = "target" if place == 0 else ""
        axes.hlines(target, place - 0.45, place + 0.45, color=COLOURS["target"], linewidth=1.5, label=label)
    axes.set_xticks(range(len(targets)), [f"{target:g}" for target in targets])
    axes.set_xlabel("target accuracy")
    axes.set_ylabel("accuracy (95 % Wilson interval)")
    axes.legend(loc="lower right")
