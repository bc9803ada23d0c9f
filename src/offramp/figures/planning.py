"""Which loss can be certified with how many rows: the picture of `offramp plan`."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from offramp.calibration.planning import Plan, certifiable_loss, in_points, rows_needed
from offramp.project.errors import InputError
from offramp.project.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes


METADATA = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}  # no time of day
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # Okabe & Ito; lines are also named at their ends
ROWS = (200, 40_000)
POINTS = 20


def check_suffix(path: Path) -> None:
    """Raise InputError unless the suffix names a format that can be drawn."""
    if path.suffix not in METADATA:
        raise InputError(f"--figure must end in {', '.join(METADATA)}; got {path}")


def draw_plan(path: Path, plan: Plan) -> None:
    """Draw the certifiable loss (points) against certify rows, a line per discordance, and the plan's own point.

    The suffix of `path` decides the format. Raises InputError for another one, where the file cannot be written, and
    without Matplotlib, which is imported here and not before.
    """
    check_suffix(path)
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure

        from offramp.figures.style import SETTINGS
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "matplotlib":
            raise
        raise InputError("--figure needs Matplotlib, which is not installed; run: pip install matplotlib") from None
    with mpl.rc_context(SETTINGS):
        drawn = Figure(figsize=(7.5, 4.8))
        _draw(drawn.add_subplot(), plan)
        try:
            with replacing(path) as temporary:
                drawn.savefig(temporary, format=path.suffix[1:], dpi=130, metadata=METADATA[path.suffix])
        except OSError as error:
            raise InputError(f"cannot write --figure {path}: {error.strerror}; name a file that can be") from None


def _draw(axes: "Axes", plan: Plan) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    first, last = min(ROWS[0], plan.labels or ROWS[0]), max(ROWS[1], plan.labels or 0)
    numbers = np.unique(np.geomspace(first, last, POINTS).round().astype(int)).tolist()
    for q, colour in zip(plan.discordances, COLOURS, strict=False):
        losses = [certifiable_loss(n, plan.delta, q, plan.power) for n in numbers]
        points = [np.nan if loss is None else 100 * loss for loss in losses]
        axes.plot(numbers, points, color=colour)
        if not np.isnan(points[-1]):
            end = (numbers[-1], points[-1])
            axes.annotate(f"discordance {q:g}", end, (5, 0), textcoords="offset points", color=colour, va="center")
    _mark(axes, plan)
    label = f"--max-loss {plan.max_loss:g}: {in_points(plan.max_loss)} points"
    axes.axhline(100 * plan.max_loss, color="black", linestyle=":", linewidth=1, label=label)
    axes.legend(loc="lower left", frameon=True, framealpha=1, edgecolor="none")  # always empty: the lines fall
    axes.set(xscale="log", yscale="log", xlabel="certify rows", ylabel="certifiable loss of accuracy (points)")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        axis.set_minor_locator(NullLocator())
    axes.set_title(f"Loss certified with power {plan.power:g} at delta {plan.delta:g}, if none is really lost")


def _mark(axes: "Axes", plan: Plan) -> None:
    """Mark what the given labels certify (nothing if they cannot); without them, the rows that max_loss needs."""
    q, n = plan.example, plan.labels
    loss = plan.max_loss if n is None else certifiable_loss(n, plan.delta, q, plan.power)
    rows = rows_needed(plan.max_loss, plan.delta, q, plan.power) if n is None else n
    if loss is not None and rows is not None:
        label = f"{rows:,} rows, discordance {q:g}: {in_points(loss)} points"
        axes.plot(rows, 100 * loss, "o", color="black", label=label)
