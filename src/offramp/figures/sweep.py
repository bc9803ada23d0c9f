"""One shared entropy cutoff over its range: accuracy against cost, cost and accuracy against the cutoff, per rule."""

import json
from pathlib import Path

from offramp.figures.style import COST_LABEL, figure, names_in, read_rows
from offramp.policies.methods import BATCH, PER_EXIT, SHARED

ACCURACY_LABEL = "accuracy on the test split"
CUTOFF_LABEL = "shared entropy cutoff (nats)"
RULES = {  # rule in plots/sweep.csv -> its colour, line and name
    "threshold": (SHARED.colour, ".-", "sample by sample: its own entropy"),
    "batch_mean": (PER_EXIT.colour, "^--", "batches of {size:g}: mean entropy"),
    "batch_max": (BATCH.colour, "v:", "batches of {size:g}: largest entropy"),
}


def draw_sweep(folder: Path, table: Path, detail: Path) -> None:
    """Draw the three panels; `detail` is metrics/sweep.json, whose cutoff is marked in each, sample by sample."""
    rows = read_rows(table)
    mark = json.loads(detail.read_text(encoding="utf-8"))
    panels = [
        ("mac_ratio", "accuracy", COST_LABEL, ACCURACY_LABEL),
        ("cutoff", "mac_ratio", CUTOFF_LABEL, COST_LABEL),
        ("cutoff", "accuracy", CUTOFF_LABEL, ACCURACY_LABEL),
    ]
    with figure(folder, "sweep", 12, 4.8) as drawn:
        for number, (x, y, x_label, y_label) in enumerate(panels, start=1):
            axes = drawn.add_subplot(1, 3, number)
            for name, (colour, line, label) in RULES.items():
                part = [row for row in rows if row["rule"] == name]
                at, height = [row[x] for row in part], [row[y] for row in part]
                text = label.format(size=part[0]["batch_size"])
                axes.plot(at, height, line, color=colour, markersize=3, linewidth=1.2, label=text)
            axes.plot(mark[x], mark[y], "o", color="black", label=f"cutoff {mark['cutoff']:g}, sample by sample")
            axes.set_xlabel(x_label)
            axes.set_ylabel(y_label)
        handles, labels = drawn.axes[0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        steps = len(names_in(rows, "cutoff"))
        drawn.suptitle(f"A shared entropy cutoff from 0 to ln(classes), {steps} steps")
