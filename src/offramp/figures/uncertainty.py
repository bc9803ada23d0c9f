"""How well uncertainty tells right answers from wrong ones, exit by exit."""

import math
from pathlib import Path

import numpy as np

from offramp.figures.style import COLOURS, figure
from offramp.outcomes import Outcomes
from offramp.policies import Policies

BINS = 40


def draw_uncertainty(folder: Path, outcomes: Outcomes, policies: Policies) -> None:
    """Draw one histogram per exit of all test samples, with the selected policy's threshold where it has one."""
    columns = min(3, outcomes.n_exits)
    lines = math.ceil(outcomes.n_exits / columns)
    low, high = outcomes.uncertainty.min(), outcomes.uncertainty.max()
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    with figure(folder, "uncertainty", 3.6 * columns, 2.6 * lines) as drawn:
        for k, name in enumerate(outcomes.exits):
            axes = drawn.add_subplot(lines, columns, k + 1)
            right = outcomes.correct[:, k]
            counts_right, _ = np.histogram(outcomes.uncertainty[right, k], edges)
            counts, _ = np.histogram(outcomes.uncertainty[:, k], edges)
            axes.stairs(counts_right, edges, fill=True, color=COLOURS["right"], label="right")
            axes.stairs(counts, edges, baseline=counts_right, fill=True, color=COLOURS["wrong"], label="wrong")
            threshold = policies.selected.thresholds[k]
            if threshold is not None and math.isfinite(threshold):
                axes.axvline(threshold, color="black", linestyle="--", linewidth=1, label="threshold")
            axes.set_yscale("log")
            axes.set_ylim(bottom=0.8)
            axes.minorticks_off()
            axes.set_title(f"{name}: {right.mean():.3f} right")
            axes.set_xlabel(f"{policies.score}" + (" (nats)" if policies.score == "entropy" else ""))
            axes.set_ylabel("test samples")
            if k == 0:
                axes.legend()
        drawn.suptitle(f"Uncertainty of right and wrong answers, threshold of {policies.selected.name}")
