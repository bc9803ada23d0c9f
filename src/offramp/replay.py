"""Replay: apply a policy to a logit cache. Accuracy counts every sample, those at the last exit too."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.costs import MACS, RATIOS, Costs
from offramp.errors import InputError
from offramp.outcomes import Outcomes
from offramp.policies import Decision, Threshold, exits_taken, parts_of


@dataclass(frozen=True)
class Replay:
    """What a policy did to each sample: the exit it took (from 0), whether its answer was right, each (samples,)."""

    taken: NDArray[np.intp]
    correct: NDArray[np.bool_]
    cost_at_exits: NDArray[np.float64]  # (exits,), in the unit of the costs
    full_cost: float
    unit: str = MACS
    batch: NDArray[np.intp] | None = None  # (samples,), the batch that decided for a sample; None: each for itself

    @property
    def samples_at_exits(self) -> NDArray[np.intp]:
        return np.bincount(self.taken, minlength=len(self.cost_at_exits))

    @property
    def correct_at_exits(self) -> NDArray[np.intp]:
        return np.bincount(self.taken[self.correct], minlength=len(self.cost_at_exits))

    @property
    def accuracy(self) -> float:
        return float(self.correct.sum() / len(self.correct))

    @property
    def total_cost(self) -> float:
        return float(self.samples_at_exits @ self.cost_at_exits)

    @property
    def mean_cost(self) -> float:
        return self.total_cost / len(self.taken)

    @property
    def cost_ratio(self) -> float:
        """Return the mean cost as a fraction of the full network's; `ratio` names it."""
        return self.mean_cost / self.full_cost

    @property
    def ratio(self) -> str:
        return RATIOS[self.unit]

    def exits(self, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """Return `share` and `accuracy` of every exit; an exit that nobody took has share 0.0 and no accuracy."""
        table = {}
        for name, samples, correct in zip(names, self.samples_at_exits, self.correct_at_exits, strict=True):
            table[name] = {"share": float(samples / len(self.taken))}
            if samples:
                table[name]["accuracy"] = float(correct / samples)
        return table


def replay(outcomes: Outcomes, policy: Decision | Sequence[Threshold], costs: Costs) -> Replay:
    """Return what a policy, under its rule, does to every sample of a cache.

    Bare thresholds (exits,) are a policy of rule `threshold`. Rule `batch` deals these samples into batches by their
    ids, in whatever order they stand.
    """
    thresholds, rule = parts_of(policy)
    taken = exits_taken(rule.of_cache(outcomes.uncertainty, outcomes.sample), thresholds)
    correct = outcomes.correct[np.arange(len(outcomes)), taken]
    paid = costs.at_exits([t is not None for t in thresholds])
    return Replay(taken, correct, paid, costs.full, costs.unit, rule.batches(outcomes.sample))


def require_same_exits(outcomes: Outcomes, costs: Costs) -> None:
    """Raise InputError when a cache and a costs file speak of different networks."""
    if outcomes.n_exits != costs.n_exits:
        raise InputError(
            f"the logit cache has {outcomes.n_exits} exits and the costs file {costs.n_exits}; "
            "they must be of one network"
        )
