"""How well uncertainty tells right answers from wrong ones, exit by exit."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from offramp.figures.style import COLOURS, Selected, figure
from offramp.project.tables import read_table
from offramp.scores.registry import score_named


def draw_uncertainty(folder: Path, table: Path, selected: Selected) -> None:
    """Draw one histogram per exit of all test samples, with the selected policy's threshold where it has one."""
    rows = read_table(table)
    exits = rows["exit"].unique().tolist()
    score = score_named(str(rows["score"].iloc[0]))
    columns = min(3, len(exits))
    lines = math.ceil(len(exits) / columns)
    with figure(folder, "uncertainty", 3.6 * columns, 2.6 * lines + 0.4) as drawn:
        for k, name in enumerate(exits):
            axes = drawn.add_subplot(lines, columns, k + 1)
            bins = rows[rows["exit"] == name]
            right, wrong = int(bins["right"].sum()), int(bins["wrong"].sum())
            axes.set_title(f"{name}: {right / (right + wrong):.3f} right")
            if bins["low"].notna().all():
                _draw_histogram(axes, bins)
            else:
                axes.set_axis_off()
                axes.text(0.5, 0.5, "no threshold: all remaining\nsamples exit", ha="center", transform=axes.transAxes)
        beyond = "" if score.limits else "; the outermost bins include values beyond them"
        drawn.axes[(lines - 1) * columns].set_xlabel(score.axis + beyond, loc="left")
        drawn.supylabel("test samples", fontsize=9)
        drawn.legend(handles=_legend(drawn.axes), loc="outside lower center", ncols=3)
        drawn.suptitle(f"Uncertainty of right and wrong answers, {selected.name}", x=0.02, ha="left")


def _draw_histogram(axes: Axes, bins: pd.DataFrame) -> None:
    """Draw right answers and, on top, wrong ones; a threshold beyond the edges is drawn at the outermost one."""
    edges = np.append(bins["low"].to_numpy(float), float(bins["high"].iloc[-1]))
    right, wrong = bins["right"].to_numpy(), bins["wrong"].to_numpy()
    axes.stairs(right, edges, fill=True, color=COLOURS["right"], label="right")
    axes.stairs(right + wrong, edges, baseline=right, fill=True, color=COLOURS["wrong"], label="wrong")
    threshold = bins["threshold"].iloc[0]
    if pd.notna(threshold):
        place = min(max(float(threshold), edges[0]), edges[-1])
        axes.axvline(place, color="black", linestyle="--", linewidth=1, label="threshold: samples left of it exit")
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.8)
    axes.minorticks_off()


def _legend(panels: list[Axes]) -> list[Any]:
    """Return each kind of mark once: the first panel may have no threshold."""
    marks: dict[str, Any] = {}
    for axes in panels:
        for handle, text in zip(*axes.get_legend_handles_labels(), strict=True):
            marks.setdefault(text, handle)
    return list(marks.values())
