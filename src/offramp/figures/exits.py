"""Where samples leave, and how accurate each exit is, per method and target."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from offramp.figures.style import COLOURS, exit_colours, figure, names_in, read_rows, target_label
from offramp.policies.methods import ACCURACY, EXIT_ACCURACY, METHODS

LINES: dict[str, dict[str, Any]] = {
    "target": {"color": COLOURS["target"], "linestyle": "--", "linewidth": 1.2},
    "accuracy of all samples": {"color": COLOURS["wrong"], "linestyle": "-", "linewidth": 1.2},
}


def draw_exits(folder: Path, table: Path) -> None:
    """Draw one row per method: exit shares, then the accuracy of those who left, both per target."""
    rows = read_rows(table)
    methods, exits = names_in(rows, "method"), names_in(rows, "exit")
    parts = [[row for row in rows if row["method"] == method] for method in methods]
    heights = [1.1 + 0.3 * len(names_in(part, "target")) for part in parts]
    with figure(folder, "exits", 11, sum(heights) + 0.6) as drawn:
        grid = drawn.subplots(len(methods), 2, squeeze=False, height_ratios=heights)
        for (shares, accuracies), method, part in zip(grid, methods, parts, strict=True):
            _draw_shares(shares, part, exits)
            _draw_accuracies(accuracies, part, exits)
            shares.set_title(f"{method}: where test samples leave")
            accuracies.set_title(f"{method}: accuracy of those who left")
        handles, _ = grid[0][0].get_legend_handles_labels()
        handles += [grid[0][1].plot([], [], label=text, **style)[0] for text, style in LINES.items()]
        drawn.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 8))


def _draw_shares(axes: Axes, rows: list[dict[str, Any]], exits: list[str]) -> None:
    targets = names_in(rows, "target")
    left = [0.0] * len(targets)
    for name, colour in zip(exits, exit_colours(len(exits)), strict=True):
        shares = [next(row["share"] for row in rows if (row["target"], row["exit"]) == (t, name)) for t in targets]
        axes.barh(range(len(targets)), shares, left=left, color=colour, label=name)
        left = [start + share for start, share in zip(left, shares, strict=True)]
    axes.set_yticks(range(len(targets)), [f"{target:g}" for target in targets])
    axes.set_ylabel(target_label(rows[0]["method"]))
    axes.set_xlabel("share of test samples")
    axes.set_xlim(0, 1)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")


def _draw_accuracies(axes: Axes, rows: list[dict[str, Any]], exits: list[str]) -> None:
    """Draw every exit's accuracy with its interval; a line at the target where that is an accuracy."""
    targets, method = names_in(rows, "target"), rows[0]["method"]
    width = 0.8 / len(exits)
    colours = dict(zip(exits, exit_colours(len(exits)), strict=True))
    for place, target in enumerate(targets):
        part = [row for row in rows if row["target"] == target and row["accuracy"] is not None]
        for row in part:
            x = place + (exits.index(row["exit"]) - (len(exits) - 1) / 2) * width
            colour = colours[row["exit"]]
            axes.vlines(x, row["accuracy_low"], row["accuracy_high"], color=colour, linewidth=1)
            axes.plot(x, row["accuracy"], "o", color=colour, markersize=4)
        overall = sum(row["share"] * row["accuracy"] for row in part)
        axes.hlines(overall, place - 0.45, place + 0.45, **LINES["accuracy of all samples"])
        if METHODS[method].measure in (ACCURACY, EXIT_ACCURACY):
            end = place + (
                0.45 - width if METHODS[method].measure == EXIT_ACCURACY else 0.45
            )  # the last exit is not held to it
            axes.hlines(target, place - 0.45, end, **LINES["target"])
    axes.set_xticks(range(len(targets)), [f"{target:g}" for target in targets])
    axes.set_xlabel(target_label(method))
    axes.set_ylabel("accuracy (95 %)")
