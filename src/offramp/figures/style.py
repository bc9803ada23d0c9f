"""What all figures share: colours safe for colour-blind readers, byte-stable files, reading our tables."""

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from offramp.files import replacing

# Okabe & Ito's palette; a certified method is a darker shade of its plug-in twin, told apart by lightness, marker and
# dashes. Baselines are black and grey. Exits, which are ordered, take the viridis scale instead.
COLOURS = {
    "per_exit": "#0072B2",
    "shared": "#D55E00",
    "overall": "#009E73",
    "certified": "#CC79A7",
    "budget": "#E69F00",
    "certified_overall": "#00543D",
    "certified_per_exit": "#003A5C",
    "conformal": "#56B4E9",
    "batch": "#882255",
    "full": "#000000",
    "static": "#888888",
    "oracle": "#555555",
    "target": "#000000",
    "wrong": "#D55E00",
    "right": "#0072B2",
}
MARKERS = {
    "per_exit": "o",
    "shared": "s",
    "overall": "v",
    "certified": "D",
    "budget": "h",
    "certified_overall": "^",
    "certified_per_exit": "p",
    "conformal": "X",
    "batch": "<",
    "full": "P",
    "static": "2",
    "oracle": "*",
}
DASHED = ("certified_overall", "certified_per_exit", "conformal")
LABELS = {
    "per_exit": "per_exit: accuracy at each side exit",
    "shared": "shared: one cutoff, accuracy overall",
    "overall": "overall: accuracy overall",
    "certified": "certified: largest loss, proved",
    "budget": "budget: mean cost",
    "certified_overall": "certified_overall: accuracy, proved",
    "certified_per_exit": "certified_per_exit: at each exit, proved",
    "conformal": "conformal: largest loss on average",
    "batch": "batch: whole batches, accuracy overall",
    "full": "full network, no side exit",
    "static": "static: a network that ends at exit k",
    "oracle": "oracle: first correct exit, needs the label",
}
TARGETS = {  # what the target of a method is, where it is no accuracy
    "certified": "largest loss",
    "conformal": "largest loss",
    "budget": "budget",
    "certified_every_exit": "largest loss",
    "certified_placed": "largest loss",
    "certified_predictive": "largest loss",
    "certified_single_jump": "largest loss",
    "certified_learned": "largest loss",
}
OTHER_COLOUR = "#888888"
SETTINGS = {
    "svg.hashsalt": "offramp",  # without it an SVG's bytes change at every run
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
COST_LABEL = "mean MACs per sample (fraction of the full network)"


def target_label(method: str) -> str:
    return TARGETS.get(method, "target accuracy")


def exit_colours(n_exits: int) -> list[Any]:
    return [mpl.colormaps["viridis"](k / max(n_exits - 1, 1) * 0.92) for k in range(n_exits)]


@contextmanager
def figure(folder: Path, name: str, width: float, height: float) -> Iterator[Figure]:
    """Yield an empty figure (inches) and save it as `name`.png and .svg."""
    with mpl.rc_context(SETTINGS):
        drawn = plt.figure(figsize=(width, height))
        try:
            yield drawn
            for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None})):
                with replacing(folder / f"{name}{suffix}") as temporary:
                    drawn.savefig(temporary, format=suffix[1:], dpi=130, metadata=metadata)
                drawn.set_layout_engine("none")  # the first file's layout serves the second
        finally:
            plt.close(drawn)


def read_table(path: Path, text: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return the rows of a CSV of ours: numbers as floats, empty cells as None, other words as they are.

    Columns in `text` are words whatever they look like: a class may be called 7.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{key: cell if key in text else _value(cell) for key, cell in row.items()} for row in rows]


def names_in(rows: Sequence[dict[str, Any]], column: str) -> list[Any]:
    """Return the distinct values of a column, in order of appearance."""
    return list(dict.fromkeys(row[column] for row in rows))


def _value(text: str) -> float | str | None:
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        return text
