"""What policies promise and what they did: in-sample, certified and held out, side by side."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from offramp.figures.style import OTHER_COLOUR, colour_of, figure, read_rows

PANELS = {
    "accuracy": "accuracy of all samples",
    "exit_accuracy": "lowest accuracy at a side exit",
    "loss": "loss against the full network",
}
SIGNS = {"loss": -1}  # less is better
CERTIFIED = ("|", "certified: proved to be right of the line")
IN_SAMPLE = ("o", "in-sample: on the rows that chose or certified it")
APART = 0.14  # lines between the figures of one policy
TEST = ("o", "held-out test, with its 95 % interval")


def draw_guarantees(folder: Path, table: Path) -> None:
    """Draw the distance from its target of every policy that promises an accuracy or a loss, a panel per measure."""
    rows = [row for row in read_rows(table) if row["measure"] in PANELS]
    measures = [measure for measure in PANELS if any(row["measure"] == measure for row in rows)]
    parts = [[row for row in rows if row["measure"] == measure] for measure in measures]
    longest = max((len(_policies(part)) for part in parts), default=0)
    with figure(folder, "guarantees", max(6.0, 4.2 * len(measures)), 0.28 * longest + 1.7) as drawn:
        if not measures:
            drawn.text(0.5, 0.5, "no policy promises an accuracy or a loss", ha="center")
            return
        panels = drawn.subplots(1, len(measures), squeeze=False)[0]
        for axes, measure, part in zip(panels, measures, parts, strict=True):
            _draw_panel(axes, part, SIGNS.get(measure, 1))
            axes.set_title(PANELS[measure])
            axes.set_xlabel("← missed     distance from the target     kept →")
            axes.locator_params(axis="x", nbins=6)
        handles = [
            panels[0].plot([], [], IN_SAMPLE[0], color="black", markerfacecolor="white", label=IN_SAMPLE[1])[0],
            panels[0].plot([], [], TEST[0], color="black", label=TEST[1])[0],
            panels[0].plot([], [], CERTIFIED[0], color="black", markersize=11, markeredgewidth=3, label=CERTIFIED[1])[
                0
            ],
        ]
        drawn.legend(handles=handles, loc="outside lower center", ncols=3 if len(measures) > 2 else 1)


def _policies(rows: list[dict[str, Any]]) -> list[tuple[str, float]]:
    return list(dict.fromkeys((row["method"], row["target"]) for row in rows))


def _draw_panel(axes: Axes, rows: list[dict[str, Any]], sign: int) -> None:
    """Draw one line per policy; one whose target could not be met promises nothing and says so."""
    policies = _policies(rows)
    axes.axvline(0, color="black", linewidth=1)
    for place, (method, target) in enumerate(policies):
        part = {row["figure"]: row for row in rows if (row["method"], row["target"]) == (method, target)}
        if next(iter(part.values()))["feasible"] is False:
            where: dict[str, Any] = {
                "transform": axes.get_yaxis_transform(),
                "ha": "right",
                "va": "center",
                "fontsize": 7,
            }
            where["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 1}
            axes.text(0.99, place, "infeasible: no promise", color=OTHER_COLOUR, **where)
            continue
        _draw_policy(axes, place, part, target, sign)
    axes.set_yticks(range(len(policies)), [f"{method} {target:g}" for method, target in policies])
    for tick, (method, _) in zip(axes.get_yticklabels(), policies, strict=True):
        tick.set_color(colour_of(method))
    axes.set_ylim(len(policies) - 0.4, -0.6)
    axes.margins(x=0.08)


def _draw_policy(axes: Axes, place: int, part: dict[str, dict[str, Any]], target: float, sign: int) -> None:
    colour = colour_of(next(iter(part.values()))["method"])
    if "certified" in part:
        axes.plot(0, place, CERTIFIED[0], color=colour, markersize=11, markeredgewidth=3)
    if "test" in part:
        row = part["test"]
        low, value, high = (sign * (row[key] - target) for key in ("low", "value", "high"))
        axes.hlines(place + APART, min(low, high), max(low, high), color=colour, linewidth=1.2)
        axes.plot(value, place + APART, TEST[0], color=colour, markersize=6)
    if "in_sample" in part:
        value = sign * (part["in_sample"]["value"] - target)
        axes.plot(value, place - APART, IN_SAMPLE[0], color=colour, markerfacecolor="white", markersize=5)
