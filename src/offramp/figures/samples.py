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
    """Draw the images (height, width, channels) of `gallery_rows`, by position; wrong answers have a frame."""
    n_exits = outcomes.n_exits
    with figure(folder, "gallery", 9, 0.95 * n_exits + 0.9) as drawn:
        grid = drawn.subplots(n_exits, PER_EXIT, squeeze=False)
        for k, positions in enumerate(rows):
            for column, axes in enumerate(grid[k]):
                axes.set_axis_off()
                if column < len(positions):
                    _draw_image(axes, images[positions[column]], bool(result.correct[positions[column]]))
            share = float((result.taken == k).mean())
            text = f"exit {k + 1}\n{share:.1%}"
            grid[k][0].text(-0.25, 0.5, text, transform=grid[k][0].transAxes, ha="right", va="center")
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


def _draw_image(axes: Any, image: Images, correct: bool) -> None:
    axes.imshow(image if image.shape[-1] == 3 else image[..., 0], cmap="gray", interpolation="nearest")
    if not correct:
        axes.text(
            0.97,
            0.95,
            "✕",
            transform=axes.transAxes,
            ha="right",
            va="top",
            color="white",
            weight="bold",
            bbox={"facecolor": "black", "edgecolor": "none", "pad": 1},
        )
