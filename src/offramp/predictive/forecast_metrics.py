"""How good a forecast is: the first one, made at `start`, against the exit where the rule would first fire.

Scored are the samples that do not fire at `start`. The distance to the first exit that fires is j; a sample that never
does has j up to the final classifier, as in the authors' VGG code (their ResNet code has one less: `never_at_last`).
"""

from dataclasses import dataclass

import numpy as np

from offramp.predictive.controls import first_jumps
from offramp.predictive.evidence import Table
from offramp.predictive.walks import Route


@dataclass(frozen=True)
class ForecastQuality:
    """Shares are of the `scored` samples; all are 0 where none is.

    `censored_exact` is the authors' prediction accuracy: k̂ = j, or j beyond the horizon and k̂ the horizon. The others
    are about where the sample looks next, after clamping: `overshoot` (the rule fires before it; `overshoot_layers` on
    average over all scored), `undershoot` (it looks too early, a head for nothing), `first_hit` (it leaves where it
    looks next, the final classifier included; an overshoot may hit), `mean_absolute_error` in exits.
    """

    scored: int
    censored_exact: float
    exact: float
    mean_absolute_error: float
    overshoot: float
    overshoot_layers: float
    undershoot: float
    first_hit: float


def forecast_quality(
    table: Table, route: Route, cut: float, horizon: int, never_at_last: bool = False
) -> ForecastQuality:
    """Return the quality of a route's first forecasts; `horizon` is where the authors' measure is censored.

    `never_at_last` scores a sample that never fires as if it had at the last side exit: the authors' ResNet.
    Raises ValueError where `start` has no side exit after it.
    """
    start, last = route.start, table.last
    if start >= last - 1:
        raise ValueError(f"a forecast at exit {start} has no side exit ahead; the last is {last - 1}")
    rows, actual = first_jumps(table, cut, start)
    if len(rows) == 0:
        return ForecastQuality(0, *[0.0] * 7)
    step = route.decide(table.at(start, rows), cut)
    said, looked = step.jump, step.target - start
    scored = np.where(never_at_last & (actual == last - start), actual - 1, actual)
    exact = said == scored
    censored = exact | ((scored > horizon) & (said == horizon))
    ahead = looked - actual
    hit = table.fires(cut)[rows, step.target]
    return ForecastQuality(
        len(rows),
        float(censored.mean()),
        float(exact.mean()),
        float(np.abs(ahead).mean()),
        float((ahead > 0).mean()),
        float(np.maximum(ahead, 0).mean()),
        float((ahead < 0).mean()),
        float(hit.mean()),
    )
