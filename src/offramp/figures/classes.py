"""Which classes pay for the saving: the selected policy's loss and cost, class by class."""

from pathlib import Path
from typing import Any

from offramp.figures.style import COLOURS, COST_LABEL, Selected, colour_of, figure, read_rows

SHOWN = 40  # classes, those that lose most


def draw_classes(folder: Path, table: Path, selected: Selected) -> None:
    """Draw the loss of every class, the largest first, and beside it the cost; at most 40 classes."""
    every = [row for row in read_rows(table, text=["class"]) if _is(row, selected.method, selected.target)]
    rows = sorted(every, key=lambda row: -row["loss"])[:SHOWN]
    total = sum(row["samples"] for row in every)
    mean = {key: sum(row["samples"] * row[key] for row in every) / total for key in ("loss", "mac_ratio")}
    colour = colour_of(selected.method)
    with figure(folder, "classes", 10, 0.24 * len(rows) + 2.2) as drawn:
        loss, cost = drawn.subplots(1, 2, sharey=True, width_ratios=(2, 1))
        places = range(len(rows))
        loss.hlines(places, [row["loss_low"] for row in rows], [row["loss_high"] for row in rows], color=colour)
        loss.plot([row["loss"] for row in rows], places, "o", color=colour)
        loss.axvline(0, color="black", linewidth=0.8)
        loss.axvline(mean["loss"], color=colour, linestyle=":", label=f"mean loss: {mean['loss']:.4f}")
        if selected.certified and selected.method == "certified":
            text = f"certified for the mean: at most {selected.target:g}"
            loss.axvline(selected.target, color=COLOURS["target"], linestyle="--", label=text)
        loss.set_yticks(places, [f"{_short(row['class'])} ({row['samples']:g})" for row in rows])
        loss.invert_yaxis()
        loss.set(xlabel="accuracy lost against the full network (95 % for all classes together)")
        loss.set_ylabel("class (test samples)")
        cost.barh(places, [row["mac_ratio"] for row in rows], color=colour, alpha=0.6)
        cost.axvline(mean["mac_ratio"], color=colour, linestyle=":", label=f"mean cost: {mean['mac_ratio']:.3f}")
        cost.set_xlabel(COST_LABEL.replace(" (", "\n("))
        handles = [part for axes in (loss, cost) for part in axes.get_legend_handles_labels()[0]]
        drawn.legend(handles=handles, loc="outside lower center", ncols=3)
        part = "" if len(rows) == len(every) else f", the {SHOWN} of {len(every)} classes that lose most"
        drawn.suptitle(f"{selected.name}: which classes pay{part}")


def _is(row: dict[str, Any], method: str, target: float) -> bool:
    return bool(row["method"] == method and row["target"] == target)


def _short(name: str) -> str:
    return name if len(name) <= 20 else name[:19] + "…"
