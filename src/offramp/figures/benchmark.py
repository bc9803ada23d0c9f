"""Policies live on this machine: time against batch size and model, where time goes, speed-ups in time and in MACs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from offramp.figures.labels import Label, place_labels
from offramp.figures.style import exit_colours, figure, names_in

FULL = "full"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
SIDE_BY_SIDE = 1.07  # factor between batch sizes drawn beside each other, so that no spread hides another
MARKERS = ("o", "s", "^", "D", "v", "h", "X")  # one more than colours: together they repeat late
SPEEDUPS = {  # column -> colour and words
    "mac_speedup": ("#888888", "fewer MACs"),
    "modelled_speedup": ("#56B4E9", "less time, modelled"),
    "speedup": ("#0072B2", "less time, measured"),
}
Row = dict[str, Any]


def draw_benchmark(folder: Path, rows: Sequence[Row]) -> None:
    """Draw `time` and `speedup` from the rows of plots/benchmark.csv (`offramp.runtime.benchmark.results`)."""
    policies = names_in(rows, "policy")
    styles = {name: _style(policies, name) for name in policies}
    whole = [row for row in rows if not row["exit"]]
    measured = [row for row in whole if "ms_per_sample" in row]
    with figure(folder, "time", 12, 4.8) as drawn:
        left, right = drawn.subplots(1, 2)
        _draw_batch_sizes(left, whole, styles)
        _draw_modelled(drawn, right, measured, styles)
        drawn.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=min(len(styles) + 1, 5))
        drawn.suptitle(f"Policies live, engine {rows[0]['engine']}: median repeat, 10 to 90 % of repeats")
    with figure(folder, "speedup", 12, 1.6 + 0.62 * len(measured)) as drawn:
        left, right = drawn.subplots(1, 2, sharey=True)
        _draw_steps(left, measured, rows)
        _draw_speedups(right, measured)
        drawn.suptitle(f"Policies live, engine {rows[0]['engine']}")


def _style(policies: list[str], name: str) -> tuple[str, str]:
    """Return colour and marker; black is the full network."""
    if name == FULL:
        return "#000000", "P"
    place = [policy for policy in policies if policy != FULL].index(name)
    return COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]


def _draw_batch_sizes(axes: Axes, whole: Sequence[Row], styles: dict[str, tuple[str, str]]) -> None:
    """Draw measured points with their spread over the modelled line of every policy."""
    for number, (name, (colour, marker)) in enumerate(styles.items()):
        own = sorted((row for row in whole if row["policy"] == name), key=lambda row: row["batch_size"])
        modelled = [row for row in own if "modelled_ms" in row]
        x, y = [row["batch_size"] for row in modelled], [row["modelled_ms"] for row in modelled]
        axes.plot(x, y, ".--", color=colour, linewidth=1, markersize=3)
        points = [row for row in own if "ms_per_sample" in row]
        ms = np.array([row["ms_per_sample"] for row in points])
        ends = [ms - [row["ms_per_sample_low"] for row in points], [row["ms_per_sample_high"] for row in points] - ms]
        sizes = [row["batch_size"] * SIDE_BY_SIDE**number for row in points]
        axes.errorbar(sizes, ms, np.maximum(ends, 0), fmt=marker, color=colour, capsize=3, label=name)
    axes.plot(
        [],
        [],
        ".--",
        color="#555555",
        linewidth=1,
        markersize=3,
        label="modelled: latency of the parts at the exits taken",
    )
    sizes = sorted({int(row["batch_size"]) for row in whole})
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [f"{size}" for size in sizes])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("batch size")
    axes.set_ylabel("ms per sample")


def _draw_modelled(drawn: Figure, axes: Axes, measured: Sequence[Row], styles: dict[str, tuple[str, str]]) -> None:
    """Draw a point per policy and batch size; on the diagonal the model is right."""
    rows = [row for row in measured if "modelled_ms" in row]
    end = 1.1 * max([row["ms_per_sample_high"] for row in measured] + [row["modelled_ms"] for row in rows])
    axes.plot([0, end], [0, end], color="#555555", linewidth=1, label="measured = modelled")
    labels = []
    for row in rows:
        colour, marker = styles[row["policy"]]
        point = row["modelled_ms"], row["ms_per_sample"]
        spread = [[point[1] - row["ms_per_sample_low"]], [row["ms_per_sample_high"] - point[1]]]
        axes.errorbar(*point, np.maximum(spread, 0), fmt=marker, color=colour, capsize=3)
        labels.append(Label(*point, f"batch {row['batch_size']}", colour))
    axes.set_xlim(0, end)
    axes.set_ylim(0, end)
    axes.set_xlabel("modelled ms per sample")
    axes.set_ylabel("measured ms per sample")
    axes.legend(loc="lower right")
    place_labels(drawn, axes, labels)


def _draw_steps(axes: Axes, measured: Sequence[Row], rows: Sequence[Row]) -> None:
    """Stack the steps of every contestant, in ms per sample of the whole."""
    names = [name for name in names_in(rows, "exit") if name]
    colours = exit_colours(len(names))
    for place, whole in enumerate(measured):
        left = 0.0
        for name, colour in zip(names, colours, strict=True):
            step = _step(rows, whole, name)["step_seconds"] * 1e3 / whole["samples"]
            axes.barh(place, step, 0.7, left, color=colour, label=f"to {name}" if not place else None)
            left += step
    axes.set_yticks(range(len(measured)), [f"{row['policy']}, batch {row['batch_size']}" for row in measured])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_axisbelow(True)
    axes.set_xlabel("ms per sample of the whole, median repeat")
    axes.set_title("where the time goes, step by step")
    axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=len(names))


def _step(rows: Sequence[Row], whole: Row, name: str) -> Row:
    return next(
        row
        for row in rows
        if (row["policy"], row["batch_size"], row["exit"]) == (whole["policy"], whole["batch_size"], name)
    )


def _draw_speedups(axes: Axes, measured: Sequence[Row]) -> None:
    for place, row in enumerate(measured):
        for number, (column, (colour, _)) in enumerate(SPEEDUPS.items()):
            if column in row:
                axes.barh(place + 0.24 * (number - 1), row[column], 0.22, color=colour)
        if "speedup" in row:
            ends = [[row["speedup"] - row["speedup_low"]], [row["speedup_high"] - row["speedup"]]]
            where = place + 0.24
            axes.errorbar(row["speedup"], where, xerr=np.maximum(ends, 0), color="#000000", capsize=2, linewidth=1)
            text = f"efficiency {row['efficiency']:.2f}"
            axes.annotate(
                text, (row["speedup_high"], where), (5, 0), textcoords="offset points", va="center", fontsize=7
            )
    axes.axvline(1, color="#000000", linewidth=1)
    axes.grid(visible=False, axis="y")
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("gain over the full network at the same batch size (a factor; 1: none)")
    axes.set_title("what leaving early saves; efficiency: in time / in MACs")
    for colour, words in SPEEDUPS.values():
        axes.barh(0, 0, color=colour, label=words)
    axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside lower right", ncols=3)
