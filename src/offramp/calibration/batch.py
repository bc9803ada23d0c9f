"""Method `batch`: one tolerance for whole batches, rule `batch`, chosen for an accuracy of the whole policy.

A batch stays whole, so the rule is the threshold rule on uncertainties that were reduced over each batch, and the exact
search of method `shared` over all cutoffs is one over all tolerances that decide differently.
"""

import math
from dataclasses import replace

import numpy as np

from offramp.calibration.choice import Choice
from offramp.calibration.shared import Cutoff, cheapest_cutoff
from offramp.costs import Costs
from offramp.outcomes import Outcomes
from offramp.policies import Thresholds
from offramp.rules import Batch, reduced_in_batches


def batch(outcomes: Outcomes, costs: Costs, target: float, batch_size: int, reduce: str) -> Choice:
    """Return the tolerance with the lowest mean cost whose overall accuracy is at least `target`.

    `reduce` is max or mean. Infeasible when nothing reaches the target; the tolerance is then the most accurate one
    (the cheapest of those). The full network is a candidate too, with a tolerance that no batch of these is within.
    """
    found, rule = cheapest_tolerance(outcomes, costs, target, batch_size, reduce)
    if found.accuracy >= target:
        return Choice(found.thresholds, rule=rule)
    reason = (
        f"no tolerance for {rule.words} reaches an accuracy of {target:g} on validation; "
        f"the most accurate reaches {found.accuracy:.4f}"
    )
    return Choice(found.thresholds, feasible=False, reason=reason, nearest=found.accuracy, rule=rule)


def cheapest_tolerance(
    outcomes: Outcomes, costs: Costs, target: float, batch_size: int, reduce: str
) -> tuple[Cutoff, Batch]:
    """Return the cheapest tolerance that meets the target, else the most accurate one; and the rule with it."""
    reduced = reduced_in_batches(outcomes.uncertainty, outcomes.sample, batch_size, reduce)
    found = cheapest_cutoff(replace(outcomes, uncertainty=reduced), costs, target)
    side = reduced[:, :-1]
    within = [t for t in found.thresholds[:-1] if t is not None]
    if not within:  # the full network: one unit of the score below all
        return found, Batch(batch_size, reduce, float(side.min()) - 1.0 if side.size else 0.0)
    tolerance = within[0] if within[0] < math.inf else float(np.max(side)) + 1.0  # finite, and everyone leaves
    thresholds: Thresholds = tuple(None if t is None else tolerance for t in found.thresholds[:-1])
    return replace(found, thresholds=(*thresholds, math.inf)), Batch(batch_size, reduce, tolerance)
