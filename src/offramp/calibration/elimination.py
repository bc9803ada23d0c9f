"""Which side exits pay for themselves where costs are times: a head may take longer than leaving there saves.

Backward elimination: from all exits on, the one whose removal saves most is disabled, again and again, until none saves
anything. With MACs heads are next to free, and calibrators leave every exit where it is.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from offramp.policies.costs import Costs
from offramp.policies.policy import Threshold, Thresholds
from offramp.policies.rules import leaves

Enabled = tuple[bool, ...]  # (exits,), the last always on
ROUNDING = 1e-9  # relative: a saving below it is none, and two that differ by less are equal


def eliminate(n_exits: int, cost_with: Callable[[Enabled], float]) -> Enabled:
    """Return the exits that stay on; `cost_with` says what a policy costs that may use these and no others.

    Of equal savings that of the first exit counts. A cost may be infinite: such a choice is never moved to.
    """
    enabled: Enabled = (True,) * n_exits
    cost = cost_with(enabled)
    while True:
        fewer = [(*enabled[:k], False, *enabled[k + 1 :]) for k in range(n_exits - 1) if enabled[k]]
        costs = [cost_with(option) for option in fewer]
        if not fewer or not _lower(min(costs), cost):
            return enabled
        best = next(place for place, value in enumerate(costs) if not _lower(min(costs), value))
        enabled, cost = fewer[best], costs[best]


def without_dear_exits(thresholds: Thresholds, uncertainty: NDArray[np.float64], costs: Costs) -> Thresholds:
    """Return the thresholds (exits,) with None at side exits that cost more than they save on these samples.

    `uncertainty` is (samples, exits), with at least one sample; no label is looked at.
    """
    side = np.array([-math.inf if threshold is None else threshold for threshold in thresholds[:-1]])
    would = leaves(uncertainty[:, :-1], side)  # (samples, side exits)
    # Few distinct rows say everything: at which exits a sample would leave if it came so far.
    codes, counts = np.unique(np.packbits(would, axis=1), axis=0, return_counts=True)
    patterns = np.unpackbits(codes, axis=1, count=len(side)).astype(np.bool_)

    def cost_with(enabled: Enabled) -> float:
        out = np.append(patterns & np.array(enabled[:-1]), np.ones((len(patterns), 1), np.bool_), axis=1)
        on = [here and threshold is not None for here, threshold in zip(enabled, thresholds, strict=True)]
        return float(counts @ costs.at_exits(on)[out.argmax(axis=1)])

    return masked(thresholds, eliminate(len(thresholds), cost_with))


def masked(thresholds: Sequence[Threshold], enabled: Sequence[bool]) -> Thresholds:
    """Return the thresholds with None where an exit is off."""
    return tuple(threshold if on else None for threshold, on in zip(thresholds, enabled, strict=True))


def _lower(cost: float, than: float) -> bool:
    return cost < than * (1 - ROUNDING) if math.isfinite(than) else cost < than
