"""One shared entropy cutoff over its range: accuracy against cost, cost and accuracy against the cutoff."""

import json
from pathlib import Path

from offramp.figures.style import COLOURS, COST_LABEL, figure, read_table

ACCURACY_LABEL = "accuracy on the test split"
CUTOFF_LABEL = "shared entropy cutoff (nats)"


def draw_sweep(folder: Path, table: Path, detail: Path) -> None:
    """Draw the three panels; `detail` is metrics/sweep.json, whose cutoff is marked in each."""
    rows = read_table(table)
    mark = json.loads(detail.read_text(encoding="utf-8"))
    panels = [
        ("mac_ratio", "accuracy", COST_LABEL, ACCURACY_LABEL),
        ("cutoff", "mac_ratio", CUTOFF_LABEL, COST_LABEL),
        ("cutoff", "accuracy", CUTOFF_LABEL, ACCURACY_LABEL),
    ]
    with figure(folder, "sweep", 12, 4.4) as drawn:
        for number, (x, y, x_label, y_label) in enumerate(panels, start=1):
            axes = drawn.add_subplot(1, 3, number)
            axes.plot([row[x] for row in rows], [row[y] for row in rows], ".-", color=COLOURS["shared"], markersize=3)
            axes.plot(mark[x], mark[y], "o", color="black", label=f"cutoff {mark['cutoff']:g}")
            axes.set_xlabel(x_label)
            axes.set_ylabel(y_label)
            axes.legend()
        drawn.suptitle(f"A shared entropy cutoff from 0 to ln(classes), {len(rows)} steps")
