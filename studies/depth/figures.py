"""Prediction depth: where samples of each depth leave, how right their answers are and how hard they were made."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from offramp.figures.style import COLOURS, figure, names_in, read_rows

KINDS = {
    "logits": ("right", "o", "the exits' own answers", "exit from which on all answer as the last one"),
    "knn": ("wrong", "s", "nearest neighbours", "segment from which on all probes answer as the network"),
}
READABLE = 12  # exits up to which a cell can hold its number
Rows = list[dict[str, Any]]


def draw_depth(folder: Path, table: Path, exits_table: Path, policy: str) -> None:
    """Draw, per kind of depth, the shares that leave at each exit; below, accuracy and stated difficulty by depth."""
    rows, taken = read_rows(table), read_rows(exits_table)
    kinds = [kind for kind in KINDS if kind in names_in(rows, "kind")]
    with figure(folder, "depth", 11, 8.6) as drawn:
        grid = drawn.subplots(2, len(kinds), squeeze=False, height_ratios=(1.25, 1))
        for axes, kind in zip(grid[0], kinds, strict=True):
            picture = _draw_exits(axes, [row for row in taken if row["kind"] == kind], _of(rows, kind), KINDS[kind])
        drawn.colorbar(picture, ax=list(grid[0]), label="share of the images of this depth", shrink=0.9)
        accuracy, difficulty = (grid[1][0], grid[1][-1])
        for kind in kinds:
            _draw_accuracy(accuracy, _of(rows, kind), kind, policy)
            if accuracy is not difficulty:
                _draw_difficulty(difficulty, _of(rows, kind), kind)
        drawn.suptitle(f"How deep an image's answer settles, and where {policy} lets it leave (test split)")


def _of(rows: Rows, kind: str) -> Rows:
    return [row for row in rows if row["kind"] == kind]


def _draw_exits(axes: Axes, rows: Rows, depths: Rows, look: tuple[str, str, str, str]) -> Any:
    """Draw a column per depth, its cells the shares that leave at each exit; a frame where exit and depth are equal."""
    names, exits = names_in(rows, "depth"), names_in(rows, "exit")
    shares = {(row["depth"], row["exit"]): row["share"] or 0.0 for row in rows}
    values = [[shares[depth, name] for depth in names] for name in exits]
    picture = axes.imshow(values, cmap="cividis", vmin=0, vmax=1, aspect="auto", origin="lower")
    axes.grid(visible=False)
    few = len(names) <= READABLE
    for k, depth in enumerate(depths):
        axes.add_patch(Rectangle((k - 0.5, k - 0.5), 1, 1, fill=False, edgecolor="#E69F00", linewidth=1.6))
        for j in range(len(exits) if few and depth["samples"] else 0):
            colour = "black" if values[j][k] > 0.55 else "white"
            axes.text(k, j, f"{values[j][k]:.0%}", ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(*_depth_ticks(depths, few))
    axes.set_yticks(range(len(exits)), [name.removeprefix("exit_") for name in exits])
    axes.set(xlabel=f"depth: {look[3]}", ylabel="exit taken")
    axes.set_title(f"By {look[2]}; framed: leaves where its answer settles", fontsize=10)
    return picture


def _depth_ticks(depths: Rows, few: bool) -> tuple[list[int], list[str]]:
    """Return one tick per depth, with its share of all images where there is room for it."""
    names = [row["depth"].removeprefix("exit_") for row in depths]
    shares = [f"\n{row['share']:.0%} of\nimages" if few else "" for row in depths]
    return list(range(len(depths))), [name + share for name, share in zip(names, shares, strict=True)]


def _draw_accuracy(axes: Axes, rows: Rows, kind: str, policy: str) -> None:
    colour, marker, words, _ = KINDS[kind]
    held = [(k, row) for k, row in enumerate(rows, start=1) if row["samples"]]
    shift = -0.06 if kind == "logits" else 0.06
    for key, about, style, fill in (("full_", "full network", "-", COLOURS[colour]), ("", policy, ":", "white")):
        x = [k + shift + (0.03 if key else -0.03) for k, _ in held]
        y = [row[f"{key}accuracy"] for _, row in held]
        lower = [row[f"{key}accuracy"] - row[f"{key}accuracy_low"] for _, row in held]
        upper = [row[f"{key}accuracy_high"] - row[f"{key}accuracy"] for _, row in held]
        axes.errorbar(
            x,
            y,
            (lower, upper),
            linestyle=style,
            marker=marker,
            color=COLOURS[colour],
            markerfacecolor=fill,
            linewidth=1.2,
            elinewidth=1,
            label=f"{about}, depth by {words}",
        )
    axes.set(xlabel="depth", ylabel="accuracy (95 % interval)")
    axes.set_title("Accuracy by depth", fontsize=10)
    _count(axes, len(rows))
    axes.legend(loc="lower left", fontsize=8)


def _draw_difficulty(axes: Axes, rows: Rows, kind: str) -> None:
    colour, marker, words, _ = KINDS[kind]
    points = [(k, row["mean_difficulty"]) for k, row in enumerate(rows, start=1) if row["mean_difficulty"] is not None]
    axes.set(xlabel="depth", ylabel="mean difficulty of the images (0 to 1)", ylim=(0, 1))
    axes.set_title("Stated difficulty by depth", fontsize=10)
    _count(axes, len(rows))
    if points:
        x, y = zip(*points, strict=True)
        axes.plot(x, y, marker=marker, color=COLOURS[colour], label=f"depth by {words}")
        axes.legend(loc="lower right", fontsize=8)
    else:
        axes.text(0.5, 0.5, "this data set states no difficulty", ha="center", transform=axes.transAxes)


def _count(axes: Axes, n_exits: int) -> None:
    axes.set_xlim(0.6, n_exits + 0.4)
    if n_exits <= READABLE:
        axes.set_xticks(range(1, n_exits + 1))
