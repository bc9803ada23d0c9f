"""Policies by name, for whoever deploys or times one: `offramp export --policy` and the benchmark.

A name is that of a policy in policies.json, `selected` for the one to deploy, `full` for the network without early
exit, or `cutoff@X` for one entropy cutoff of X nats at every side exit, as published BranchyNet results have it.
"""

import math
from dataclasses import dataclass

from offramp.errors import InputError
from offramp.policies import Policies, Thresholds, full_network
from offramp.rules import THRESHOLD, Rule
from offramp.scoring import Scoring

SELECTED, FULL, CUTOFF = "selected", "full", "cutoff"


@dataclass(frozen=True)
class Named:
    """A policy ready to run. `name` is its own: never `selected`. `reason` says why its target cannot be met."""

    name: str
    thresholds: Thresholds
    scoring: Scoring
    feasible: bool = True
    reason: str = ""
    rule: Rule = THRESHOLD

    @property
    def warning(self) -> str:
        """Return what everything that prints or exports the policy says first; empty for a feasible one."""
        return "" if self.feasible else f"{self.name} is INFEASIBLE: {self.reason}"


def named_policy(name: str, policies: Policies) -> Named:
    """Return the policy of this name; `full` and `cutoff@X` use entropy at temperature 1, whatever the file's score.

    Raises InputError for an unknown name, listing the known ones, and for a cutoff that is no number from 0.
    """
    exits = policies.exits
    if name == SELECTED:
        found = policies.selected
    else:
        matching = [policy for policy in policies.policies if policy.name == name]
        if not matching:
            return Named(*_constructed(name, policies), Scoring.plain("entropy", exits))
        found = matching[0]
    return Named(found.name, found.thresholds, policies.scoring, found.feasible, found.reason, found.rule)


def _constructed(name: str, policies: Policies) -> tuple[str, Thresholds]:
    """Return the name and thresholds of a policy that stands in no file."""
    n_exits = len(policies.exits)
    if name == FULL:
        return name, full_network(n_exits)
    method, at, target = name.partition("@")
    if method != CUTOFF or not at:
        known = ", ".join([SELECTED, FULL, f"{CUTOFF}@X", *dict.fromkeys(policy.name for policy in policies.policies)])
        raise InputError(f"there is no policy {name!r}; known: {known}")
    try:
        cutoff = float(target)
    except ValueError:
        cutoff = math.nan
    if not 0 <= cutoff < math.inf:
        raise InputError(f"{CUTOFF}@X takes an entropy in nats, a number from 0, as in {CUTOFF}@0.6; got {name!r}")
    return f"{CUTOFF}@{cutoff:.15g}", (cutoff,) * (n_exits - 1) + (math.inf,)
