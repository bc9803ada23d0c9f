"""Replay: apply a policy to a logit cache. Accuracy counts every sample, those at the last exit too."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from offramp.cache.reading import LogitCache
from offramp.policies.costs import MACS, RATIOS, Costs
from offramp.policies.outcomes import Outcomes, read_outcomes
from offramp.policies.policy import Policies, Policy, exits_taken
from offramp.policies.routes.rule import RouteRule, joint_look
from offramp.policies.routes.walk import step_costs, walk_costs
from offramp.project.errors import InputError
from offramp.scores.scoring import Scoring

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

PER_SAMPLE = ("taken", "correct", "batch", "paid", "heads")


@dataclass(frozen=True)
class Replay:
    """What a policy did to each sample: the exit it took (from 0), whether its answer was right, each (samples,).

    What a sample pays follows from its exit, unless a route decided which heads it ran: then it is `paid`, and
    `cost_at_exits` is the mean of those that left there, NaN where nobody did.
    """

    taken: Ints
    correct: NDArray[np.bool_]
    cost_at_exits: Floats  # (exits,), in the unit of the costs
    full_cost: float
    unit: str = MACS
    batch: Ints | None = None  # (samples,), the batch that decided for a sample; None: each for itself
    paid: Floats | None = None  # (samples,)
    heads: Ints | None = None  # (samples,), how many ran, where that does not follow from the exit

    @property
    def cost(self) -> Floats:
        """Return what each sample costs, (samples,)."""
        return self.cost_at_exits[self.taken] if self.paid is None else self.paid

    @property
    def cost_levels(self) -> tuple[Ints, Floats]:
        """Return a number per sample, (samples,), and the cost that samples of each number have, (numbers,)."""
        if self.paid is None:
            return self.taken, self.cost_at_exits
        levels, number = np.unique(self.paid, return_inverse=True)
        return number, levels

    def part(self, rows: NDArray[np.bool_] | Ints) -> Self:
        """Return what became of these samples, by mask or position."""
        kept = {name: getattr(self, name)[rows] for name in PER_SAMPLE if getattr(self, name) is not None}
        found = replace(self, **kept)
        if found.paid is None:
            return found
        return replace(found, cost_at_exits=_means(found.taken, found.paid, len(self.cost_at_exits)))

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
        return float(self.samples_at_exits @ self.cost_at_exits) if self.paid is None else float(self.paid.sum())

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


def replay(outcomes: Outcomes, policy: Policy, costs: Costs) -> Replay:
    """Return what a policy, under its rule, does to every sample of a cache.

    Rule `batch` deals these samples into batches by their
    ids, in whatever order they stand. Under a route a sample pays for the heads it ran and for its forecasts.
    Raises InputError where costs of segments and heads are not known apart.
    """
    if isinstance(policy.rule, RouteRule):
        return _walked(outcomes, policy.rule, costs)
    taken = exits_of(outcomes, policy)
    correct = outcomes.correct[np.arange(len(outcomes)), taken]
    paid = costs.at_exits(policy.enabled)
    return Replay(taken, correct, paid, costs.full, costs.unit, policy.rule.batches(outcomes.sample))


def costs_under(scoring: Scoring, costs: Costs) -> Costs:
    """Return what exits cost under a score: one that compares exits runs earlier heads although they are disabled."""
    return replace(costs, every_head=True) if scoring.compares_exits else costs


def exits_of(outcomes: Outcomes, policy: Policy) -> Ints:
    """Return the exit that each sample takes under a policy, (samples,), from 0."""
    if isinstance(policy.rule, RouteRule):
        return policy.rule.walk(outcomes).taken
    return exits_taken(policy.rule.of_cache(outcomes.uncertainty, outcomes.sample), policy.thresholds)


def _walked(outcomes: Outcomes, rule: RouteRule, costs: Costs) -> Replay:
    walk = rule.walk(outcomes)
    paid = walk_costs(walk, costs, step_costs(rule.route, costs, outcomes.n_classes))
    correct = outcomes.correct[np.arange(len(outcomes)), walk.taken]
    means = _means(walk.taken, paid, costs.n_exits)
    return Replay(walk.taken, correct, means, costs.full, costs.unit, None, paid, walk.heads)


def _means(taken: Ints, paid: Floats, n_exits: int) -> Floats:
    """Return the mean of `paid` (samples,) at each exit, (exits,); NaN where nobody left."""
    samples = np.bincount(taken, minlength=n_exits)
    return np.divide(np.bincount(taken, paid, n_exits), samples, out=np.full(n_exits, np.nan), where=samples > 0)


def read_for(cache: LogitCache, content: Policies) -> Outcomes:
    """Return what a labelled cache shows of every policy in a file. Raises InputError where it does not fit them."""
    look = joint_look((policy.rule for policy in content.policies), content.scoring, cache.n_classes)
    return read_outcomes(cache, content.scoring, look=look)


def require_same_exits(outcomes: Outcomes, costs: Costs) -> None:
    """Raise InputError when a cache and a costs file speak of different networks."""
    if outcomes.n_exits != costs.n_exits:
        raise InputError(
            f"the logit cache has {outcomes.n_exits} exits and the costs file {costs.n_exits}; "
            "they must be of one network"
        )
