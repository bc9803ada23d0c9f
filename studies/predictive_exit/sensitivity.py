"""What a route makes of changes that mean nothing: classes in another order, a constant added to all logits.

Neither changes an answer's probabilities. A share above 0 is a decision that rests on something arbitrary.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.policies.outcomes import Outcomes, observe
from offramp.policies.routes.observed import Ints, Look
from offramp.policies.routes.walk import Route
from offramp.scores.registry import Floats

SHUFFLES = 100
SEED = 17


@dataclass(frozen=True)
class Changes:
    """Shares that change, the mean over all trials.

    `fires`: of all samples and side exits; `jumps`: of those that fire neither before nor after and have a side exit
    ahead (None where there are none; such trials are left out of the mean); `taken`: of samples, where they leave.
    """

    fires: float
    jumps: float | None
    taken: float


def permutation_sensitivity(
    look: Look,
    route: Route,
    cut: float,
    logits: NDArray[np.floating],
    shuffles: int = SHUFFLES,
    seed: int = SEED,
) -> Changes:
    """Return what changes when the classes of logits (samples, exits, classes) are shuffled, alike for all exits.

    Activation thresholds do not depend on the order of classes, so `look` stays.
    """
    rng = np.random.default_rng(seed)
    before = _table(look, logits)
    taken = route.walk(before, cut).taken
    found = []
    for _ in range(shuffles):
        order = rng.permutation(logits.shape[2])
        found.append(changes(route, cut, before, _table(look, logits[:, :, order]), taken))
    fires, taken = np.mean([(each.fires, each.taken) for each in found], axis=0).tolist()
    jumps = [each.jumps for each in found if each.jumps is not None]
    return Changes(fires, float(np.mean(jumps)) if jumps else None, taken)


def centred(logits: NDArray[np.floating]) -> Floats:
    """Return logits (…, classes) less their mean over the classes."""
    z = logits.astype(np.float64)
    return z - z.mean(axis=-1, keepdims=True)


def changes(route: Route, cut: float, before: Outcomes, after: Outcomes, taken: Ints | None = None) -> Changes:
    """Return what differs between two tables of the same samples; `taken` (samples,), where `before` says they leave.

    It is walked anew where it is not given.
    """
    before, after = before.showing(route.shows), after.showing(route.shows)
    left = route.walk(before, cut).taken if taken is None else taken
    fired, fires = before.fires(cut)[:, :-1], after.fires(cut)[:, :-1]
    compared = different = 0
    for k in range(route.start, before.last - 1):
        rows = np.flatnonzero(~fired[:, k] & ~fires[:, k])
        if len(rows):
            compared += len(rows)
            moved = route.jumps(before.at(k, rows), cut) != route.jumps(after.at(k, rows), cut)
            different += int(moved.sum())
    jumps = different / compared if compared else None
    return Changes(float((fired != fires).mean()), jumps, float((left != route.walk(after, cut).taken).mean()))


def _table(look: Look, logits: NDArray[np.floating]) -> Outcomes:
    n = len(logits)
    return observe(look, logits, np.full(n, -1), np.arange(n))
