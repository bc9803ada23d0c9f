"""What each method promises, and its three figures: in-sample, certified, and held out on the test split.

A promise is about one measure: the `accuracy` of all samples, the `exit_accuracy` (the lowest among side exits that
somebody took), the `loss` against the full network, or the `mac_ratio`; where calibration minimised time, that is the
`latency_ratio` instead, modelled from the times in policies.json.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from offramp.costs import MACS, RATIOS
from offramp.evaluation.tables import accuracy_of
from offramp.intervals import simultaneous
from offramp.policies import Policies, Policy
from offramp.replay import Replay

MEASURES = {
    "per_exit": "exit_accuracy",
    "shared": "accuracy",
    "overall": "accuracy",
    "certified": "loss",
    "budget": "mac_ratio",
    "certified_overall": "accuracy",
    "certified_per_exit": "exit_accuracy",
    "conformal": "loss",
    "batch": "accuracy",
    "every_exit": "accuracy",
    "placed": "accuracy",
    "predictive": "accuracy",
    "single_jump": "accuracy",
    "constant_jump": "accuracy",
    "random_jump": "accuracy",
    "learned": "accuracy",
    "certified_every_exit": "loss",
    "certified_placed": "loss",
    "certified_predictive": "loss",
    "certified_single_jump": "loss",
    "certified_learned": "loss",
}
AT_MOST = ("loss", *RATIOS.values())  # the other measures are to be at least the target
ROUNDING = 1e-12  # of a mean cost: one float sum against another


def measure_of(policy: Policy, content: Policies) -> str:
    """Return the measure that a policy of this file promises."""
    promised = MEASURES[policy.method]
    return content.costs.ratio if promised == RATIOS[MACS] and content.costs is not None else promised


def keeps(policy: Policy, value: float | None) -> bool:
    """Return whether `value`, of the measure that the method promises, meets the target; no value breaks no promise."""
    if value is None:
        return True
    if MEASURES[policy.method] in AT_MOST:
        return value <= policy.target + ROUNDING
    return value >= policy.target


def lowest_exit(result: Replay, exits: list[str]) -> dict[str, Any]:
    """Return the lowest accuracy among side exits that somebody took, its interval and its exit; empty if none was.

    The lowest of several is picked after looking, so the interval holds for all of them together.
    """
    samples, correct = result.samples_at_exits[:-1], result.correct_at_exits[:-1]
    used = np.flatnonzero(samples)
    if len(used) == 0:
        return {}
    k = used[np.argmin(correct[used] / samples[used])]
    row = accuracy_of(result, int(k), simultaneous(len(used)))
    return {"lowest_exit": exits[k]} | {f"exit_{key}": value for key, value in row.items()}


def in_sample(policy: Policy) -> dict[str, float]:
    """Return `validation_…` figures: of the rows that chose the policy, as far as policies.json tells them."""
    found = {key: _number(policy.validation, key) for key in ("accuracy", "loss", *RATIOS.values())}
    if MEASURES[policy.method] == "exit_accuracy":
        exits = policy.validation.get("exits")
        side = list(exits.values())[:-1] if isinstance(exits, Mapping) else []
        values = [_number(row, "accuracy") for row in side if isinstance(row, Mapping)]
        found["exit_accuracy"] = min((value for value in values if value is not None), default=None)
    return {f"validation_{key}": value for key, value in found.items() if value is not None}


def confidence(policy: Policy) -> float | None:
    """Return how sure the certificate of a policy is; None without one."""
    level = _number(policy.certificate or {}, "level")
    return 1 - level if policy.feasible and level is not None else None


def _number(content: Mapping[str, Any], key: str) -> float | None:
    """Return a finite number in somebody's JSON, None where there is none."""
    value = content.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
