"""Loss and accuracy of every exit, epoch by epoch and phase by phase, on the training and the validation split."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import LogFormatter, MaxNLocator

from offramp.figures.style import exit_colours, figure, names_in, read_rows

MEASURES = {"loss": "cross-entropy (nats)", "accuracy": "accuracy"}
TITLES = {
    ("joint",): "Training, all exits jointly",
    ("backbone", "exits"): "Training in two phases: the backbone, then the exits",
    ("backbone",): "Training in two phases: the backbone",
    ("exits",): "Training side heads on a backbone as loaded",
    ("loaded",): "Loaded weights, nothing trained",
}
PHASE_TEXT: dict[str, Any] = {"fontsize": "small", "color": "0.3", "ha": "center", "va": "bottom"}


def draw_training(folder: Path, table: Path) -> None:
    rows = read_rows(table)
    phases = names_in(rows, "phase")
    with figure(folder, "training", 10, 3.8) as drawn:
        panels = drawn.subplots(1, len(MEASURES))
        for axes, (measure, label) in zip(panels, MEASURES.items(), strict=True):
            _draw_exits(axes, rows, measure)
            _mark_phases(axes, rows, phases)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_xlabel("epoch")
            axes.set_ylabel(label)
        panels[0].set_yscale("log")
        panels[0].yaxis.set_major_formatter("{x:g}")  # 0.1 and not 10⁻¹
        panels[0].yaxis.set_minor_formatter(LogFormatter())
        panels[0].plot([], [], "k-", marker=".", label="validation")
        if "train" in names_in(rows, "split"):
            panels[0].plot([], [], "k:", marker=".", label="training, dropout on")
        drawn.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
        drawn.suptitle(TITLES[tuple(phases)])


def _draw_exits(axes: Axes, rows: Sequence[dict[str, Any]], measure: str) -> None:
    """One line per exit and split; a line ends with its phase, because another optimiser begins there."""
    exits = sorted(names_in(rows, "exit"), key=lambda name: int(name.removeprefix("exit_")))
    for name, colour in zip(exits, exit_colours(len(exits)), strict=True):
        for split, style in (("train", ":"), ("val", "-")):
            text = name if split == "val" else None
            for phase in names_in(rows, "phase"):
                part = [row for row in rows if (row["exit"], row["split"], row["phase"]) == (name, split, phase)]
                epochs, values = [row["epoch"] for row in part], [row[measure] for row in part]
                if part:
                    axes.plot(epochs, values, style, marker=".", color=colour, label=text)
                    text = None


def _mark_phases(axes: Axes, rows: Sequence[dict[str, Any]], phases: Sequence[str]) -> None:
    """Where there are several, the name of each above the axes and a line between each two."""
    if len(phases) == 1:
        return
    for phase in phases:
        epochs = [row["epoch"] for row in rows if row["phase"] == phase]
        middle = (min(epochs) + max(epochs)) / 2
        axes.text(middle, 1.0, phase, transform=axes.get_xaxis_transform(), **PHASE_TEXT)
        if phase != phases[0]:
            axes.axvline(min(epochs) - 0.5, color="0.3", linewidth=1, linestyle="--")
