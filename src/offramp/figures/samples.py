"""Which images leave where: a gallery, and the exit against the difficulty that a data set states."""

from pathlib import Path
from typing import Any

import numpy as np

from offramp.data.prepared import images_of, read_split
from offramp.figures.style import Selected, exit_colours, figure, names_in, read_rows
from offramp.project.tables import read_table

PER_EXIT = 10
GAP = 4  # pixels between images
WRONG = {"facecolor": "black", "edgecolor": "none", "pad": 1}


def draw_gallery(folder: Path, table: Path, prepared: Path, selected: Selected) -> None:
    """Draw the prepared images that plots/gallery.csv names, a row per exit; wrong answers are marked.

    All tiles are one picture: an axes for each would take most of a second.
    """
    rows = read_table(table)
    shown = rows.dropna(subset="sample").astype({"sample": "int64", "place": "int64"})
    images = images_of(read_split(prepared), shown["sample"].to_numpy())
    exits = rows["exit"].unique().tolist()
    height, width, channels = images[0].shape
    tile_height, tile_width = height + GAP, width + GAP
    canvas = np.full((len(exits) * tile_height, PER_EXIT * tile_width, channels), 255, np.uint8)
    with figure(folder, "gallery", 9, 0.85 * len(exits) + 0.7) as drawn:
        axes = drawn.add_subplot()
        axes.set_axis_off()
        for k, (name, share) in enumerate(rows.groupby("exit", sort=False)["share"].first().items()):
            text = f"{str(name).replace('_', ' ')}\n{share:.1%}"
            axes.text(-GAP, k * tile_height + height / 2, text, ha="right", va="center")
        for image, (name, place, right) in zip(images, shown[["exit", "place", "right"]].to_numpy(), strict=True):
            top, left = exits.index(name) * tile_height, place * tile_width
            canvas[top : top + height, left : left + width] = image
            if not right:
                axes.text(left + width - 1, top + 1, "✕", ha="right", va="top", color="white", bbox=WRONG)
        axes.imshow(canvas if channels == 3 else canvas[..., 0], cmap="gray", interpolation="nearest")
        drawn.suptitle(f"{selected.name}: test images by the exit they take, certain to uncertain; ✕ = wrong answer")


def draw_difficulty(folder: Path, table: Path, selected: Selected) -> None:
    """Draw exit shares and accuracy per difficulty bin; a note instead where the data set grades nothing."""
    rows = read_rows(table)
    with figure(folder, "difficulty", 9, 3.8) as drawn:
        if not rows:
            drawn.text(0.5, 0.5, "this data set states no difficulty", ha="center")
            return
        shares, accuracy = drawn.subplots(1, 2)
        exits, starts = names_in(rows, "exit"), names_in(rows, "difficulty_low")
        centres = [(row["difficulty_low"] + row["difficulty_high"]) / 2 for row in rows if row["exit"] == exits[0]]
        width = 0.9 * (rows[0]["difficulty_high"] - rows[0]["difficulty_low"])
        bottom = np.zeros(len(starts))
        for name, colour in zip(exits, exit_colours(len(exits)), strict=True):
            height = np.array([row["share"] for row in rows if row["exit"] == name])
            shares.bar(centres, height, width, bottom, color=colour, label=name)
            bottom += height
        accuracy.plot(centres, [_accuracy(rows, start) for start in starts], "o-", color="black")
        shares.set(xlabel="difficulty of the image", ylabel="share of the bin's test samples")
        accuracy.set(xlabel="difficulty of the image", ylabel="accuracy on the test split")
        drawn.legend(*shares.get_legend_handles_labels(), loc="outside right center")
        drawn.suptitle(f"{selected.name}: exit and accuracy against difficulty")


def _accuracy(rows: list[dict[str, Any]], start: float) -> float:
    part = [row for row in rows if row["difficulty_low"] == start and row["samples"]]
    return float(sum(row["accuracy"] * row["samples"] for row in part) / sum(row["samples"] for row in part))
