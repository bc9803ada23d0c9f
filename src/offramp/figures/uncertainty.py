"""How well uncertainty tells right answers from wrong ones, exit by exit."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from offramp.figures.style import COLOURS, figure
from offramp.outcomes import Outcomes
from offramp.policies import Policies
from offramp.scoring import CHANGE

BINS = 40
TAIL = 0.005  # share of samples on either side that the outermost bins of an unbounded score take in
UNITS = {
    "entropy": "entropy (nats)",
    "least_confidence": "log-odds of a wrong answer, ln(1 − p₁) − ln p₁",
    "margin": "margin, ln p₂ − ln p₁ (nats)",
    "energy": "energy, −ln Σ exp(logits)",
    CHANGE: "log-odds that the last exit answers otherwise",
}


def draw_uncertainty(folder: Path, outcomes: Outcomes, policies: Policies) -> None:
    """Draw one histogram per exit of all test samples, with the selected policy's threshold where it has one."""
    columns = min(3, outcomes.n_exits)
    lines = math.ceil(outcomes.n_exits / columns)
    score = policies.scoring.score
    asked = outcomes.n_exits - 1 if score == CHANGE and outcomes.n_exits > 1 else outcomes.n_exits
    edges = bin_edges(outcomes.uncertainty[:, :asked], score, len(outcomes.class_names))
    with figure(folder, "uncertainty", 3.6 * columns, 2.6 * lines + 0.4) as drawn:
        for k, name in enumerate(outcomes.exits):
            axes = drawn.add_subplot(lines, columns, k + 1)
            right = outcomes.correct[:, k]
            axes.set_title(f"{name}: {right.mean():.3f} right")
            if k < asked:
                _draw_histogram(axes, outcomes.uncertainty[:, k], right, edges, policies.selected.thresholds[k])
            else:
                axes.set_axis_off()
                axes.text(0.5, 0.5, "never asked:\ntakes whoever is left", ha="center", transform=axes.transAxes)
        beyond = "" if score == "entropy" else "; the outermost bins hold what lies beyond them"
        drawn.supxlabel(UNITS.get(score, score) + beyond, fontsize=9)
        drawn.supylabel("test samples", fontsize=9)
        drawn.legend(handles=_legend(drawn.axes), loc="outside upper right", ncols=3)
        drawn.suptitle(f"Uncertainty of right and wrong answers, {policies.selected.name}", x=0.02, ha="left")


def bin_edges(uncertainty: NDArray[np.float64], score: str, n_classes: int) -> NDArray[np.float64]:
    """Return the edges of equal bins: all of 0 … ln(classes) for entropy, else all but the outermost samples."""
    if score == "entropy":
        low, high = 0.0, math.log(max(n_classes, 2))
    else:
        low, high = np.quantile(uncertainty, [TAIL, 1 - TAIL]).tolist()
    return np.linspace(low, high if high > low else low + 1, BINS + 1)


def _draw_histogram(
    axes: Axes,
    values: NDArray[np.float64],
    right: NDArray[np.bool_],
    edges: NDArray[np.float64],
    threshold: float | None,
) -> None:
    """Draw right answers and, on top, wrong ones; values and a threshold beyond the edges go to the outermost bins."""
    held = np.clip(values, edges[0], edges[-1])
    counts_right, _ = np.histogram(held[right], edges)
    counts, _ = np.histogram(held, edges)
    axes.stairs(counts_right, edges, fill=True, color=COLOURS["right"], label="right")
    axes.stairs(counts, edges, baseline=counts_right, fill=True, color=COLOURS["wrong"], label="wrong")
    if threshold is not None and math.isfinite(threshold):
        place = min(max(threshold, edges[0]), edges[-1])
        axes.axvline(place, color="black", linestyle="--", linewidth=1, label="threshold: left of it they leave")
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.8)
    axes.minorticks_off()


def _legend(panels: list[Axes]) -> list[Any]:
    """Return each kind of mark once: the first panel may have no threshold."""
    found: dict[str, Any] = {}
    for axes in panels:
        for handle, text in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(text, handle)
    return list(found.values())
