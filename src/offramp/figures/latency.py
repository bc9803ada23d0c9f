"""Where the time goes: milliseconds of every segment and head, per batch size and engine, and beside their MACs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from offramp.figures.style import exit_colours, figure, names_in
from offramp.policies.costs import Costs

ENGINE_STYLES = {"onnx": ("#0072B2", "o"), "torch": ("#D55E00", "s"), "onnx_int8": ("#009E73", "^")}
MAC_COLOUR = "#888888"
HATCH = "////"
Rows = Sequence[dict[str, Any]]


def draw_latency(folder: Path, rows: Rows, costs: Costs) -> None:
    """Draw the parts per engine, the full network against batch size, and shares of time beside shares of MACs."""
    engines = names_in(rows, "engine")
    with figure(folder, "latency", 13, 7.2) as drawn:
        grid = drawn.subfigures(2, 1, squeeze=False)
        top, bottom = grid[0, 0], grid[1, 0]
        for axes, engine in zip(np.atleast_1d(top.subplots(1, len(engines))), engines, strict=True):
            _draw_parts(axes, [row for row in rows if row["engine"] == engine], costs.n_exits)
            axes.set_title(f"{engine}: full network, and each side head")
        top.legend(*_legend(costs.n_exits), loc="outside right center")
        full, shares = bottom.subplots(1, 2, width_ratios=(1, 2))
        _draw_full(full, rows)
        _draw_shares(shares, rows, costs, engines[0])


def _draw_parts(axes: Axes, rows: Rows, n_exits: int) -> None:
    """Stack segments and the last head, which are the full network; beside them the side heads, which come on top."""
    sizes = names_in(rows, "batch_size")
    colours = exit_colours(n_exits)
    for place, size in enumerate(sizes):
        ms = {(row["exit"], row["part"]): row["ms"] for row in rows if row["batch_size"] == size}
        trunk = beside = 0.0
        for k, colour in enumerate(colours):
            segment, head = ms[f"exit_{k + 1}", "segment"], ms[f"exit_{k + 1}", "head"]
            axes.bar(place - 0.2, segment, 0.36, trunk, color=colour)
            trunk += segment
            last = k == n_exits - 1
            place_of_head, bottom = (place - 0.2, trunk) if last else (place + 0.2, beside)
            axes.bar(place_of_head, head, 0.36, bottom, color=colour, hatch=HATCH, edgecolor="white", linewidth=0)
            beside += head
    axes.set_xticks(range(len(sizes)), [f"{size}" for size in sizes])
    axes.set_xlabel("batch size")
    axes.set_ylabel("ms per sample")
    axes.grid(visible=False, axis="x")


def _legend(n_exits: int) -> tuple[list[Any], list[str]]:
    from matplotlib.patches import Patch

    handles = [Patch(color=colour) for colour in exit_colours(n_exits)]
    heads = Patch(facecolor="#555555", hatch=HATCH, edgecolor="white", linewidth=0)
    return [*handles, heads], [*(f"segment {k + 1}" for k in range(n_exits)), "its head"]


def _draw_full(axes: Axes, rows: Rows) -> None:
    for engine in names_in(rows, "engine"):
        colour, marker = ENGINE_STYLES[engine]
        part = [row for row in rows if row["engine"] == engine and row["part"] == "full"]
        sizes, ms = [row["batch_size"] for row in part], np.array([row["ms"] for row in part])
        spread = [ms - [row["ms_low"] for row in part], [row["ms_high"] for row in part] - ms]
        axes.errorbar(sizes, ms, np.maximum(spread, 0), color=colour, marker=marker, capsize=2, label=engine)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [f"{size}" for size in sizes])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("batch size")
    axes.set_ylabel("ms per sample, full network")
    axes.legend(title="median, 10 to 90 % of rounds")


def _draw_shares(axes: Axes, rows: Rows, costs: Costs, engine: str) -> None:
    """Draw every part's share of the full network: of its MACs, and of its time at the smallest and largest batch."""
    assert costs.segment is not None, "our own costs file has segments"
    assert costs.head is not None, "our own costs file has heads"
    parts = [(f"exit_{k + 1}", part) for k in range(costs.n_exits) for part in ("segment", "head")]
    macs = np.stack([costs.segment, costs.head], axis=1).reshape(-1) / costs.full
    axes.bar(np.arange(len(parts)) - 0.27, macs, 0.25, color=MAC_COLOUR, label="MACs")
    own = [row for row in rows if row["engine"] == engine]
    sizes = names_in(own, "batch_size")
    for offset, size, colour in ((0.0, min(sizes), "#56B4E9"), (0.27, max(sizes), "#0072B2")):
        table = {
            (row["exit"], row["part"]): row for row in rows if (row["engine"], row["batch_size"]) == (engine, size)
        }
        whole = table["", "full"]["ms"]
        shares = [table[part]["ms"] / whole for part in parts]
        axes.bar(np.arange(len(parts)) + offset, shares, 0.25, color=colour, label=f"time, {engine}, batch {size}")
    axes.set_xticks(range(len(parts)), [f"{'seg' if part == 'segment' else 'head'} {name[5:]}" for name, part in parts])
    axes.set_ylabel("fraction of the full network")
    axes.legend()
    axes.grid(visible=False, axis="x")
    axes.set_title("MACs are not milliseconds")
