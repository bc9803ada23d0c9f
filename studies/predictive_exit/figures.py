"""Predictive Exit: routes at equal accuracy, statistics of every exit, modelled energy; drawn beside their tables."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from offramp.figures.style import COLOURS, figure, names_in, read_rows

NAMES = ("comparison", "layers", "energy", "curves")
LOSSES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
MARKERS = ("o", "s", "^", "D")
STATISTICS = ("signed_mean", "mean_abs", "mean_max", "winning_correct")
KINDS = {  # column -> colour and words
    "scaled_ratio": ("#0072B2", "frequency from the forecast"),
    "race_ratio": ("#E69F00", "race to idle"),
}
CURVES = {  # of the routes, those that are drawn: colour, marker and dashes
    "every_exit": ("#000000", "o", "-"),
    "placed": ("#E69F00", "s", "-"),
    "predictive": ("#0072B2", "^", "-"),
    "single_jump": ("#56B4E9", "v", "--"),
    "learned": ("#D55E00", "D", "-"),
    "constant_jump_2": ("#009E73", "X", "--"),
    "random_jump": ("#CC79A7", "P", "--"),
    "oracle_exit": ("#777777", "*", ":"),
}
SHOWN = 0.15  # of accuracy, below the best; what is worse is of no use
Row = dict[str, Any]


def draw_predictive(folder: Path) -> None:
    """Draw the figures of the tables in `folder`; where these hold nothing, remove what was drawn before."""
    tables = {name: read_rows(folder / f"{name}.csv") for name in (*NAMES, "exits")}
    if not tables["comparison"]:
        for name in NAMES:
            for suffix in (".png", ".svg"):
                (folder / f"{name}{suffix}").unlink(missing_ok=True)
        return
    _draw_comparison(folder, tables["comparison"])
    _draw_layers(folder, tables["layers"], tables["exits"])
    _draw_energy(folder, tables["energy"])
    _draw_curves(folder, tables["curves"])


def _draw_comparison(folder: Path, rows: list[Row]) -> None:
    """Draw mean MACs of every route, one panel per score, one colour per loss; hollow: the target was not met."""
    scores, policies = names_in(rows, "score"), names_in(rows, "policy")[::-1]
    losses = names_in(rows, "max_loss")
    with figure(folder, "comparison", 4.2 * len(scores) + 1, 1.6 + 0.24 * len(policies)) as drawn:
        panels = drawn.subplots(1, len(scores), sharey=True, squeeze=False)[0]
        for axes, score in zip(panels, scores, strict=True):
            for number, loss in enumerate(losses):
                part = [row for row in rows if (row["score"], row["max_loss"]) == (score, loss)]
                _draw_routes(axes, part, policies, number)
            axes.set_title(score)
            axes.set_xlabel("mean MACs per sample (fraction of the full network)")
        panels[0].set_yticks(range(len(policies)), policies)
        handles, labels = panels[0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside lower center", ncols=len(losses))
        drawn.suptitle("Routes at equal accuracy; bars: 95 % of the difference from every_exit; hollow: not reached")


def _draw_routes(axes: Axes, rows: list[Row], policies: list[str], number: int) -> None:
    colour, marker = LOSSES[number % len(LOSSES)], MARKERS[number % len(MARKERS)]
    label = f"loss at most {rows[0]['max_loss']:g} on validation"
    for row in rows:
        place = policies.index(row["policy"]) + 0.16 * (number - 0.5)
        error = [
            [row["mac_difference"] - row["mac_difference_low"]],
            [row["mac_difference_high"] - row["mac_difference"]],
        ]
        face = colour if row["feasible"] else "none"
        axes.errorbar(row["mac_ratio"], place, xerr=np.maximum(error, 0), color=colour, linewidth=1, capsize=2)
        axes.plot(row["mac_ratio"], place, marker, color=colour, markerfacecolor=face, markersize=5, label=label)
        label = "_nolegend_"


def _draw_layers(folder: Path, layers: list[Row], exits: list[Row]) -> None:
    """Draw, by exit, accuracy; activation thresholds by statistic; and the share that fires at the smallest loss."""
    places = np.arange(1, len(layers) + 1)
    with figure(folder, "layers", 13, 4.0) as drawn:
        left, middle, right = drawn.subplots(1, 3)
        left.plot(places, [row["accuracy"] for row in layers], "o-", color=COLOURS["right"], markersize=4)
        left.set_title("test accuracy of an exit by itself")
        for name, colour, marker in zip(STATISTICS, LOSSES, MARKERS, strict=True):
            values = [max(row[f"threshold_{name}"], 1e-6) for row in layers]
            middle.plot(places, values, color=colour, marker=marker, markersize=4, label=name)
        middle.set_yscale("log")
        middle.set_title("T of `activation`, from tune rows")
        middle.legend(fontsize=8)
        loss = min(row["max_loss"] for row in exits)
        for number, score in enumerate(names_in(exits, "score")):
            part = [
                row for row in exits if (row["score"], row["max_loss"]) == (score, loss) and row["fires"] is not None
            ]
            style = {"color": LOSSES[number % len(LOSSES)], "marker": MARKERS[number % len(MARKERS)]}
            right.plot(places[: len(part)], [row["fires"] for row in part], markersize=4, label=score, **style)
        right.set_title(f"share that fires there, at the cut for a loss of {loss:g}")
        right.legend(fontsize=8)
        for axes in (left, middle, right):
            axes.set_xlabel("exit")
            axes.set_xlim(0.5, len(layers) + 0.5)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_energy(folder: Path, rows: list[Row]) -> None:
    """Draw the modelled energy of some routes under the smallest loss, one panel per score."""
    loss = min(row["max_loss"] for row in rows)
    scores = names_in(rows, "score")
    with figure(folder, "energy", 3.8 * len(scores) + 0.6, 3.8) as drawn:
        panels = drawn.subplots(1, len(scores), sharey=True, squeeze=False)[0]
        for axes, score in zip(panels, scores, strict=True):
            part = [row for row in rows if (row["score"], row["max_loss"]) == (score, loss)]
            places = np.arange(len(part))
            for shift, (column, (colour, words)) in zip((-0.2, 0.2), KINDS.items(), strict=True):
                axes.bar(places + shift, [row[column] for row in part], 0.38, color=colour, label=words)
            axes.axhline(1, color="black", linewidth=0.8, linestyle=":")
            axes.set_xticks(places, [row["policy"] for row in part], rotation=20)
            axes.set_title(score)
        panels[0].set_ylabel("energy (fraction of the full network's)")
        drawn.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
        drawn.suptitle(f"Modelled energy, example device, loss at most {loss:g}; nothing was measured")


def _draw_curves(folder: Path, rows: list[Row]) -> None:
    """Draw test accuracy against mean MACs of some routes, chosen on validation rows; one panel per score."""
    scores = names_in(rows, "score")
    best = max(row["accuracy"] for row in rows if row["policy"] in CURVES)
    with figure(folder, "curves", 4.4 * len(scores) + 0.6, 4.4) as drawn:
        panels = drawn.subplots(1, len(scores), sharey=True, squeeze=False)[0]
        for axes, score in zip(panels, scores, strict=True):
            for name, (colour, marker, dashes) in CURVES.items():
                part = [row for row in rows if (row["score"], row["policy"]) == (score, name)]
                places = [row["mac_ratio"] for row in part], [row["accuracy"] for row in part]
                style = {"color": colour, "marker": marker, "linestyle": dashes, "label": name}
                axes.plot(*places, markersize=4, linewidth=1.2, alpha=0.9, **style)
            axes.set_title(score)
            axes.set_xlabel("mean MACs per sample (fraction of the full network)")
            axes.set_ylim(best - SHOWN, best + SHOWN / 20)
        panels[0].set_ylabel("test accuracy")
        drawn.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(CURVES) // 2)
        drawn.suptitle("Accuracy against cost; every point: a start or placement and a cut, chosen on validation rows")
