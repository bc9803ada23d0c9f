"""Accuracy against cost: every method's policies with their targets, and the baselines."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from offramp.figures.style import COLOURS, COST_LABEL, LABELS, MARKERS, figure, names_in, read_table


def draw_tradeoff(folder: Path, table: Path) -> None:
    rows = read_table(table)
    with figure(folder, "tradeoff", 8, 5) as drawn:
        axes = drawn.add_subplot()
        for method in names_in(rows, "method"):
            _draw_method(axes, method, [row for row in rows if row["method"] == method])
        axes.set_xlabel(COST_LABEL)
        axes.set_ylabel("accuracy on the test split (95 % Wilson interval)")
        axes.set_title("Accuracy against cost; numbers are targets, open markers could not meet theirs")
        axes.legend(loc="lower right")


def _draw_method(axes: Axes, method: str, points: list[dict[str, Any]]) -> None:
    colour, marker = COLOURS.get(method, "#56B4E9"), MARKERS.get(method, "o")
    points = sorted(points, key=lambda point: point["mac_ratio"])
    cost = [point["mac_ratio"] for point in points]
    accuracy = [point["accuracy"] for point in points]
    low = [point["accuracy"] - point["accuracy_low"] for point in points]
    high = [point["accuracy_high"] - point["accuracy"] for point in points]
    style = ":" if method == "static" else "-" if len(points) > 1 else "none"
    axes.errorbar(cost, accuracy, (low, high), color=colour, linestyle=style, linewidth=1.2, elinewidth=1)
    for point in points:
        infeasible = point["feasible"] == "False"
        size = 11 if point["selected"] == "True" else 6
        face = "white" if infeasible else colour
        axes.plot(point["mac_ratio"], point["accuracy"], marker, color=colour, markerfacecolor=face, markersize=size)
        if point["target"] is not None:
            text, below = f"{point['target']:g}", method == "shared"
            text += " selected" if point["selected"] == "True" else ""
            offset = (6, -11) if below else (-6, 6)
            place = "left" if below else "right"
            axes.annotate(
                text,
                (point["mac_ratio"], point["accuracy"]),
                offset,
                textcoords="offset points",
                color=colour,
                ha=place,
            )
        elif point["exit"] is not None:
            axes.annotate(
                point["exit"].removeprefix("exit_"),
                (point["mac_ratio"], point["accuracy"]),
                (5, -10),
                textcoords="offset points",
                color=colour,
            )
    axes.plot([], [], marker, color=colour, linestyle=style, label=LABELS.get(method, method))
