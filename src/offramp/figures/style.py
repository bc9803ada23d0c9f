"""What all figures share: colours safe for colour-blind readers, byte-stable files, reading our tables."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from offramp.policies.methods import METHODS
from offramp.project.files import replacing
from offramp.project.tables import read_table, records

mpl.use("Agg")

# Okabe & Ito's palette; methods have theirs in `policies.methods`. Baselines are black and grey. Exits, which are
# ordered, take the viridis scale instead.
COLOURS = {"target": "#000000", "wrong": "#D55E00", "right": "#0072B2"}
BASELINES = {  # colour, marker and words
    "full": ("#000000", "P", "full network, no side exit"),
    "static": ("#888888", "2", "static: a network that ends at exit k"),
    "oracle": ("#555555", "*", "oracle: first correct exit, needs the label"),
}
OTHER_COLOUR = "#888888"
SETTINGS = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
COST_LABEL = "mean MACs per sample (fraction of the full network)"


def colour_of(method: str) -> str:
    """Return the colour of a method or baseline; grey for one that is not registered."""
    return METHODS[method].colour if method in METHODS else BASELINES.get(method, (OTHER_COLOUR, "", ""))[0]


def marker_of(method: str) -> str:
    return METHODS[method].marker if method in METHODS else BASELINES.get(method, ("", "o", ""))[1]


def label_of(method: str) -> str:
    """Return a method or baseline in words, for a legend."""
    if method in METHODS:
        return f"{method}: {METHODS[method].label}"
    return BASELINES.get(method, ("", "", method))[2]


def target_label(method: str) -> str:
    """Return what the target of a method is, for an axis."""
    return METHODS[method].target_label if method in METHODS else "target"


def exit_colours(n_exits: int) -> list[Any]:
    return [mpl.colormaps["viridis"](k / max(n_exits - 1, 1) * 0.92) for k in range(n_exits)]


_source = ""


def set_source(dataset: str, network: str) -> None:
    """Let every figure that this process draws name the data set and the network in its title."""
    global _source
    _source = f"{dataset}, {network}"


@contextmanager
def figure(folder: Path, name: str, width: float, height: float) -> Iterator[Figure]:
    """Yield an empty figure (inches) and save it as `name`.png, data set and network in its title (`set_source`)."""
    with mpl.rc_context(SETTINGS):
        drawn = plt.figure(figsize=(width, height))
        try:
            yield drawn
            if _source:
                title = drawn.get_suptitle()
                drawn.suptitle(f"{title}\n{_source}" if title else _source, x=0.02, ha="left")
            with replacing(folder / f"{name}.png") as temporary:
                drawn.savefig(temporary, format="png", dpi=130, metadata={"Software": None})
        finally:
            plt.close(drawn)


def read_rows(path: Path, text: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return the rows of a table, None where a value is missing; columns in `text` are words."""
    return records(read_table(path, text))


def names_in(rows: Sequence[dict[str, Any]], column: str) -> list[Any]:
    """Return the distinct values of a column, in order of appearance."""
    return list(dict.fromkeys(row[column] for row in rows))


class Selected(NamedTuple):
    """The policy to deploy: its method, its target, and whether a certificate says that the target is kept."""

    method: str
    target: float
    certified: bool

    @property
    def name(self) -> str:
        return f"{self.method}@{self.target:g}"


def read_selected(tradeoff: Path, guarantees: Path) -> Selected:
    """Return the selected policy of plots/tradeoff.csv; plots/guarantees.csv knows which are certified."""
    table = read_table(tradeoff)
    row = table[table["selected"].eq(True)].iloc[0]
    method, target = str(row["method"]), float(row["target"])
    claims = read_table(guarantees)
    same = (claims["method"] == method) & (claims["target"] == target) & (claims["figure"] == "certified")
    return Selected(method, target, bool(same.any()))
