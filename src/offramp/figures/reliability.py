"""Reliability diagrams: accuracy against the probability that an exit gives its answer, before and after scaling."""

import json
import math
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from offramp.figures.style import COLOURS, figure, names_in, read_rows

LOOKS = {"none": ("right", "o", "ece", "temperature 1"), "per_exit": ("wrong", "s", "ece_scaled", "scaled")}


def draw_reliability(folder: Path, table: Path, detail: Path) -> None:
    """Draw one panel per exit; `detail` is metrics/reliability.json, which holds the errors in the legends."""
    rows = read_rows(table)
    exits = names_in(rows, "exit")
    errors = json.loads(detail.read_text(encoding="utf-8"))["exits"]
    columns = min(3, len(exits))
    lines = math.ceil(len(exits) / columns)
    with figure(folder, "reliability", 3.6 * columns, 3.3 * lines) as drawn:
        for number, name in enumerate(exits, start=1):
            axes = drawn.add_subplot(lines, columns, number)
            axes.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":")
            for temperature in LOOKS:
                part = [row for row in rows if (row["exit"], row["temperature"]) == (name, temperature)]
                _draw_diagram(axes, part, temperature, errors[name])
            axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
            axes.set_title(f"{name}: temperature {errors[name]['temperature']:.2f}")
            axes.set_xlabel("mean probability of the answer")
            axes.set_ylabel("accuracy on the test split")
            axes.legend(loc="upper left", fontsize=8, title="expected calibration error", title_fontsize=8)
        drawn.suptitle("Reliability of each exit; area of a point: share of samples; temperatures from the tune fold")


def _draw_diagram(axes: Axes, rows: list[dict[str, Any]], temperature: str, errors: dict[str, float]) -> None:
    colour, marker, key, label = LOOKS[temperature]
    total = sum(row["samples"] for row in rows)
    x, y = [row["confidence"] for row in rows], [row["accuracy"] for row in rows]
    sizes = [8 + 160 * row["samples"] / total for row in rows]
    axes.plot(x, y, color=COLOURS[colour], linewidth=1)
    axes.scatter(x, y, sizes, color=COLOURS[colour], marker=marker, alpha=0.8, label=f"{label}: {errors[key]:.3f}")
