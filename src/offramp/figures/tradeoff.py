"""Accuracy against cost: every method's policies with their targets, and the baselines."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from offramp.figures.labels import Label, place_labels
from offramp.figures.style import (
    COST_LABEL,
    colour_of,
    figure,
    label_of,
    marker_of,
    names_in,
    read_rows,
)
from offramp.policies.methods import METHODS

Point = dict[str, Any]
COSTS = (0.01, 0.02, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2)
LINEAR = 0.002  # losses up to here share a linear scale, larger ones a logarithmic one


def draw_tradeoff(folder: Path, table: Path) -> None:
    """Draw accuracies of policies and baselines against cost; beside it the policies' losses, stretched where small."""
    rows = read_rows(table)
    methods = names_in(rows, "method")
    with figure(folder, "tradeoff", 12, 6.4) as drawn:
        accuracy, loss = drawn.subplots(1, 2, width_ratios=(1, 1.15))
        for method in methods:
            _draw_method(accuracy, method, [row for row in rows if row["method"] == method], "accuracy")
        accuracy.set(xlabel=COST_LABEL, ylabel="accuracy on the test split (95 % Wilson interval)")
        accuracy.set_title("Policies and baselines")
        policies = [row for row in rows if row["target"] is not None]
        policies = [row for row in policies if not _is_full_network(row)] or policies
        for method in names_in(policies, "method"):
            _draw_method(loss, method, [row for row in policies if row["method"] == method], "loss")
        _scale(loss, policies)
        loss.set(xlabel=COST_LABEL, ylabel="accuracy lost against the full network (95 % paired interval)")
        loss.set_title("Policies alone: numbers are targets, open markers could not meet theirs")
        entries = len(methods)
        drawn.legend(*accuracy.get_legend_handles_labels(), loc="outside lower center", ncols=3 if entries < 9 else 4)
        place_labels(drawn, accuracy, [_label(row) for row in rows if row["exit"] is not None])
        place_labels(drawn, loss, [_label(row) for row in policies])


def _is_full_network(policy: Point) -> bool:
    """Return whether an infeasible target left only the full network: nothing to compare."""
    return bool(policy["feasible"] is False and policy["mac_ratio"] == 1)


def _scale(axes: Axes, policies: list[Point]) -> None:
    """Stretch small costs and losses, and give both scales round numbers as far as the policies reach."""
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=LINEAR, linscale=0.35)
    low = min(-LINEAR / 2, *(row["loss_low"] for row in policies))
    high = max(LINEAR, *(row["loss_high"] for row in policies))
    axes.set_ylim(1.3 * high, 1.3 * low)  # the best on top
    steps = [0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]
    losses = sorted({sign * step + 0.0 for step in steps for sign in (-1, 1) if 2 * low <= sign * step <= 2 * high})
    axes.set_yticks(losses, [f"{loss:g}" for loss in losses])
    cheap, dear = (chosen(row["mac_ratio"] for row in policies) for chosen in (min, max))
    cheap = max(cheap, COSTS[0])  # a logarithmic scale has no 0
    axes.set_xlim(cheap / 1.15, dear * 1.15)
    costs = [c for c in COSTS if cheap / 1.15 <= c <= dear * 1.15]
    axes.set_xticks(costs, [f"{cost:g}" for cost in costs])
    axes.minorticks_off()
    axes.axhline(0, color="black", linewidth=0.8)


def _draw_method(axes: Axes, method: str, points: list[Point], measure: str) -> None:
    colour, marker, style = colour_of(method), marker_of(method), "-" if len(points) > 1 else "none"
    if method == "static":
        style = ":"
    elif method in METHODS and METHODS[method].dashed:
        style = "--"
    line = sorted((point for point in points if point["feasible"] is not False), key=lambda point: point["mac_ratio"])
    axes.plot(
        [point["mac_ratio"] for point in line],
        [point[measure] for point in line],
        color=colour,
        linestyle=style,
        linewidth=1,
        alpha=0.6,
    )
    for point in points:
        face = "white" if point["feasible"] is False else colour
        ends = (point[f"{measure}_low"], point[f"{measure}_high"])
        axes.vlines(point["mac_ratio"], *ends, color=colour, linewidth=0.7, alpha=0.7)
        axes.plot(point["mac_ratio"], point[measure], marker, color=colour, markerfacecolor=face, markersize=6)
        if point["selected"] is True:
            axes.plot(point["mac_ratio"], point[measure], "o", color="black", markerfacecolor="none", markersize=14)
    axes.plot([], [], marker, color=colour, linestyle=style, label=label_of(method))


def _label(point: Point) -> Label:
    colour = colour_of(point["method"])
    if point["exit"] is not None:
        return Label(point["mac_ratio"], point["accuracy"], point["exit"].removeprefix("exit_"), colour)
    text = f"{point['target']:g}" + (" selected" if point["selected"] is True else "")
    return Label(point["mac_ratio"], point["loss"], text, colour)
