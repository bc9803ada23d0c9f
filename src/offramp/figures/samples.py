"""Which images leave where: a gallery, and the exit against the difficulty that a data set states."""

from pathlib import Path
from typing import Any

import numpy as np

from offramp.figures.style import exit_colours, figure, names_in, read_table
from offramp.outcomes import Outcomes
from offramp.policies import Policies
from offramp.prepared import Images
from offramp.replay import Replay

PER_EXIT = 10
GAP = 4  # pixels between images
WRONG = {"facecolor": "black", "edgecolor": "none", "pad": 1}


def gallery_rows(outcomes: Outcomes, result: Replay) -> list[list[int]]:
    """Return, per exit, up to ten positions in the cache of those who left there, evenly from easy to hard."""
    chosen = []
    for k in range(outcomes.n_exits):
        left = np.flatnonzero(result.taken == k)
        ordered = left[np.argsort(outcomes.uncertainty[left, k], kind="stable")]
        places = np.unique(np.linspace(0, len(ordered) - 1, min(PER_EXIT, len(ordered))).astype(int))
        chosen.append(ordered[places].tolist())
    return chosen


def draw_gallery(
    folder: Path, images: dict[int, Images], rows: list[list[int]], outcomes: Outcomes, result: Replay, title: str
) -> None:
    """Draw the images (height, width, channels) of `gallery_rows`, by position; wrong answers are marked.

    All tiles are one picture: an axes for each would take most of a second.
    """
    height, width, channels = next(iter(images.values())).shape
    tile_height, tile_width = height + GAP, width + GAP
    canvas = np.full((outcomes.n_exits * tile_height, PER_EXIT * tile_width, channels), 255, np.uint8)
    with figure(folder, "gallery", 9, 0.85 * outcomes.n_exits + 0.7) as drawn:
        axes = drawn.add_subplot()
        axes.set_axis_off()
        for k, positions in enumerate(rows):
            top = k * tile_height
            share = float((result.taken == k).mean())
            axes.text(-GAP, top + height / 2, f"exit {k + 1}\n{share:.1%}", ha="right", va="center")
            for column, position in enumerate(positions):
                left = column * tile_width
                canvas[top : top + height, left : left + width] = images[position]
                if not result.correct[position]:
                    axes.text(left + width - 1, top + 1, "✕", ha="right", va="top", color="white", bbox=WRONG)
        axes.imshow(canvas if channels == 3 else canvas[..., 0], cmap="gray", interpolation="nearest")
        drawn.suptitle(f"{title}: test images by the exit they leave at, certain to uncertain; ✕ = wrong answer")


def draw_difficulty(folder: Path, table: Path, policies: Policies) -> None:
    """Draw exit shares and accuracy per difficulty bin; a note instead where the data set grades nothing."""
    rows = read_table(table)
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
        drawn.suptitle(f"{policies.selected.name}: exit and accuracy against difficulty")


def _accuracy(rows: list[dict[str, Any]], start: float) -> float:
    part = [row for row in rows if row["difficulty_low"] == start and row["samples"]]
    return float(sum(row["accuracy"] * row["samples"] for row in part) / sum(row["samples"] for row in part))
