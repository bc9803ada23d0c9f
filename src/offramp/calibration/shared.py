"""Method `shared`: one cutoff for every side exit, as in the BranchyNet literature.

Every cutoff that decides differently on these samples is tried, exactly: as the cutoff rises, a sample moves to an
earlier exit only where an uncertainty of its own is lower than all of its earlier ones, so accuracy and cost change at
no more than (exits − 1) points per sample.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from offramp.calibration.elimination import Enabled, eliminate, masked
from offramp.policies.costs import Costs
from offramp.policies.outcomes import Outcomes
from offramp.policies.policy import Policy, Thresholds, full_network, midway
from offramp.policies.replay import replay
from offramp.policies.rules import Batch, reduced_in_batches

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CutoffCurve:
    """Accuracy and mean cost, each (steps,), of every shared cutoff in [changes[i], changes[i + 1])."""

    changes: Floats
    accuracy: Floats
    mean_cost: Floats


@dataclass(frozen=True)
class Cutoff:
    """Thresholds (exits,) with one cutoff at every enabled side exit, and what they do on the rows that chose them."""

    thresholds: Thresholds
    accuracy: float
    mean_cost: float


def shared(outcomes: Outcomes, costs: Costs, target: float) -> Policy:
    """Return the shared cutoff with the lowest mean cost whose overall accuracy is at least `target`.

    Infeasible when nothing reaches the target; the thresholds are then the most accurate ones (the cheapest of those).
    """
    found = cheapest_cutoff(outcomes, costs, target)
    if found.accuracy >= target:
        return Policy(found.thresholds)
    reason = (
        f"no shared cutoff reaches an accuracy of {target:g} on validation; "
        f"the most accurate reaches {found.accuracy:.4f}"
    )
    return Policy(found.thresholds, feasible=False, reason=reason, nearest=found.accuracy)


def cheapest_cutoff(outcomes: Outcomes, costs: Costs, target: float) -> Cutoff:
    """Return the cutoff with the lowest mean cost that meets the target, else the most accurate one.

    The full network, all side exits disabled, is a candidate too: a cutoff at which hardly anyone leaves costs more.
    Where costs are times, the cutoff is that of the exits which take less than they save.
    """
    every: Enabled = (True,) * outcomes.n_exits

    def cost_with(enabled: Enabled) -> float:
        found = _best(outcomes, costs, target, enabled)
        return found.mean_cost if found.accuracy >= target else math.inf

    return _best(outcomes, costs, target, eliminate(outcomes.n_exits, cost_with) if costs.measured else every)


def _best(outcomes: Outcomes, costs: Costs, target: float, enabled: Enabled) -> Cutoff:
    """Return the cheapest cutoff at these exits that meets the target, else the most accurate one."""
    curve = cutoff_curve(outcomes, costs, enabled)
    full = full_network(outcomes.n_exits)
    full_replay = replay(outcomes, Policy(full), costs)
    accuracy = np.append(curve.accuracy, full_replay.accuracy)
    mean_cost = np.append(curve.mean_cost, full_replay.mean_cost)
    meets = np.flatnonzero(accuracy >= target)
    candidates = meets if len(meets) else np.flatnonzero(accuracy == accuracy.max())
    best = candidates[np.lexsort((-accuracy[candidates], mean_cost[candidates]))[0]]
    if best == len(curve.changes):
        return Cutoff(full, float(accuracy[best]), float(mean_cost[best]))
    thresholds = masked((_cutoff(curve, best),) * (outcomes.n_exits - 1) + (math.inf,), enabled)
    return Cutoff(thresholds, float(accuracy[best]), float(mean_cost[best]))


def cutoff_curve(outcomes: Outcomes, costs: Costs, enabled: Enabled | None = None) -> CutoffCurve:
    """Return accuracy and mean cost for every cutoff at which somebody leaves early; default: every side exit is on."""
    on = np.ones(outcomes.n_exits, np.bool_) if enabled is None else np.array(enabled)
    cost_at = costs.at_exits(on.tolist())
    lowest_before = np.minimum.accumulate(np.where(on, outcomes.uncertainty, math.inf), axis=1)
    correct = outcomes.correct[:, -1].astype(np.int64)  # of the exit that a lower cutoff leads to
    cost = np.full(len(outcomes), cost_at[-1])
    at: list[Floats] = [np.empty(0)]
    correct_steps: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    cost_steps: list[Floats] = [np.empty(0)]
    for k in reversed(np.flatnonzero(on[:-1])):
        value = outcomes.uncertainty[:, k]
        moves = value < lowest_before[:, k - 1] if k else np.ones(len(outcomes), np.bool_)
        at.append(value[moves])
        correct_steps.append(outcomes.correct[moves, k] - correct[moves])
        cost_steps.append(cost_at[k] - cost[moves])
        correct[moves], cost[moves] = outcomes.correct[moves, k], cost_at[k]
    changes, group = np.unique(np.concatenate(at), return_inverse=True)
    start_correct, start_cost = outcomes.correct[:, -1].sum(), cost_at[-1] * len(outcomes)
    n_correct = start_correct + np.cumsum(np.bincount(group, np.concatenate(correct_steps), len(changes)))
    total_cost = start_cost + np.cumsum(np.bincount(group, np.concatenate(cost_steps), len(changes)))
    return CutoffCurve(changes, n_correct / len(outcomes), total_cost / len(outcomes))


def _cutoff(curve: CutoffCurve, step: int) -> float:
    if step + 1 == len(curve.changes):
        return math.inf
    return midway(curve.changes[step], curve.changes[step + 1])


def batch(outcomes: Outcomes, costs: Costs, target: float, batch_size: int, reduce: str) -> Policy:
    """Return the tolerance with the lowest mean cost whose overall accuracy is at least `target`.

    `reduce` is max or mean. Infeasible when nothing reaches the target; the tolerance is then the most accurate one
    (the cheapest of those). The full network is a candidate too, with a tolerance that no batch of these is within.
    """
    found, rule = cheapest_tolerance(outcomes, costs, target, batch_size, reduce)
    if found.accuracy >= target:
        return Policy(found.thresholds, rule=rule)
    reason = (
        f"no tolerance for {rule.words} reaches an accuracy of {target:g} on validation; "
        f"the most accurate reaches {found.accuracy:.4f}"
    )
    return Policy(found.thresholds, feasible=False, reason=reason, nearest=found.accuracy, rule=rule)


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
