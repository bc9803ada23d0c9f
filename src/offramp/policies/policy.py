"""Policies: thresholds and a rule that decide from uncertainties where a sample leaves.

A sample leaves at the first exit whose uncertainty is **at most** its threshold; `leaves` is the one place where that
comparison is made, for calibration, replay and runtime. A policy's `rule` says which uncertainty that is: the sample's
own or its batch's (`policies.rules`). `None` (null in JSON) disables an exit: its head is not run. Infinity ("inf"
in JSON): everyone still there leaves; the last exit always has it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.policies.certificate import Certificate
from offramp.policies.costs import Costs, LatencyRow
from offramp.policies.rules import THRESHOLD, Rule, leaves
from offramp.project.errors import InputError
from offramp.scores.scoring import Scoring

Threshold = float | None
Thresholds = tuple[Threshold, ...]  # (exits,)


@dataclass(frozen=True)
class Policy:
    """Thresholds (exits,) and the rule they belong to: all that replay needs. To run on images it also has a `scoring`.

    `method` and `target` say what it was chosen for, and give its name; a policy of no method has a `title`. Where a
    target cannot be met, `feasible` is False and the policy is the nearest one that can be reached.
    """

    thresholds: Thresholds
    rule: Rule = THRESHOLD
    scoring: Scoring | None = None
    method: str = ""
    target: float = math.nan
    title: str = ""  # `full`, `cutoff@0.6`, or the name in a bundle
    feasible: bool = True
    reason: str = ""  # one sentence, where the target cannot be met
    nearest: float | None = None  # the best value that can be reached then
    validation: Mapping[str, Any] = field(default_factory=dict)
    certificate: Certificate | None = None  # the proof, to be derived again by `offramp check --val`
    expectation: Mapping[str, Any] | None = None  # what conformal risk control promises
    labels_needed: int | None = None  # about how many validation rows would certify what these could not

    @property
    def name(self) -> str:
        return self.title or f"{self.method}@{self.target:g}"

    @property
    def enabled(self) -> list[bool]:
        """Return which exits have a threshold, (exits,); the last one always has."""
        return [threshold is not None for threshold in self.thresholds]

    @property
    def warning(self) -> str:
        """Return what everything that prints or exports the policy says first; empty for a feasible one."""
        return "" if self.feasible else f"{self.name} is INFEASIBLE: {self.reason}"

    def require_scoring(self) -> Scoring:
        """Return the scoring of a policy that is to be run. Raises ValueError for one that can only be replayed."""
        if self.scoring is None:
            raise ValueError(f"the policy {self.name} has no scoring: it can be replayed, not run")
        return self.scoring


@dataclass(frozen=True)
class Policies:
    """The content of policies.json: policies that share a scoring; `selected` is deployed.

    `costs` are the times that calibration minimised, `cost` in the file; None where that was MACs, which stand in
    metrics/costs.json.
    """

    scoring: Scoring
    policies: list[Policy]
    selected: Policy
    costs: Costs | None = None

    @property
    def cost_row(self) -> LatencyRow | None:
        """Return the engine and batch size whose time was minimised; None for MACs."""
        return None if self.costs is None else self.costs.row

    @property
    def exits(self) -> list[str]:
        return self.scoring.exits


def exits_taken(uncertainty: NDArray[np.float64], thresholds: Sequence[Threshold]) -> NDArray[np.intp]:
    """Return where each sample leaves (samples,), exits counted from 0, for uncertainties (samples, exits).

    The last exit takes all remaining samples, whatever their uncertainty.
    """
    enabled = np.array([threshold is not None for threshold in thresholds])
    limits = np.array([0.0 if threshold is None else threshold for threshold in thresholds])
    out = leaves(uncertainty, limits) & enabled
    out[:, -1] = True
    return out.argmax(axis=1)


def full_network(n_exits: int) -> Thresholds:
    """Return the thresholds of a policy that disables all side exits."""
    return (None,) * (n_exits - 1) + (math.inf,)


def midway(below: float, above: float) -> float:
    """Return the threshold between two neighbouring uncertainties, below <= threshold < above.

    Midway, because live logits differ from cached ones in the last bits; `below` where no number lies between.
    """
    middle = below + (above - below) / 2
    return float(middle if middle < above else below)


SELECTED, FULL, CUTOFF = "selected", "full", "cutoff"


def named_policy(name: str, policies: Policies) -> Policy:
    """Return the policy of this name, ready to run, under its own name also where it was asked for as `selected`.

    `full` and `cutoff@X` use entropy at temperature 1, whatever the file's score. Raises InputError for an unknown
    name, listing the known ones, and for a cutoff that is no number from 0.
    """
    if name == SELECTED:
        return replace(policies.selected, scoring=policies.scoring)
    for policy in policies.policies:
        if policy.name == name:
            return replace(policy, scoring=policies.scoring)
    title, thresholds = _constructed(name, policies)
    return Policy(thresholds, scoring=Scoring.plain("entropy", policies.exits), title=title)


def _constructed(name: str, policies: Policies) -> tuple[str, Thresholds]:
    """Return the title and thresholds of a policy that stands in no file."""
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
