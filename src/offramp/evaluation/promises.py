"""What each method promises, and its three figures: in-sample, certified, and held out on the test split.

A promise is about one measure: the `accuracy` of all samples, the `exit_accuracy` (the lowest among side exits that
somebody took), the `loss` against the full network, or the `mac_ratio`; where calibration minimised time, that is the
`latency_ratio` instead, modelled from the times in policies.json.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from offramp.evaluation.tables import accuracy_of
from offramp.policies.costs import RATIOS
from offramp.policies.methods import COST, EXIT_ACCURACY, METHODS
from offramp.policies.policy import Policies, Policy
from offramp.policies.replay import Replay
from offramp.statistics.intervals import simultaneous

ROUNDING = 1e-12  # of a mean cost: one float sum against another


def measure_of(policy: Policy, content: Policies) -> str:
    """Return the measure that a policy of this file promises."""
    promised = METHODS[policy.method].measure
    return content.costs.ratio if promised == COST and content.costs is not None else promised


def keeps(policy: Policy, value: float | None) -> bool:
    """Return whether `value`, of the measure that the method promises, meets the target; no value breaks no promise."""
    if value is None:
        return True
    if METHODS[policy.method].at_most:
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
    if METHODS[policy.method].measure == EXIT_ACCURACY:
        exits = policy.validation.get("exits")
        side = list(exits.values())[:-1] if isinstance(exits, Mapping) else []
        values = [_number(row, "accuracy") for row in side if isinstance(row, Mapping)]
        found["exit_accuracy"] = min((value for value in values if value is not None), default=None)
    return {f"validation_{key}": value for key, value in found.items() if value is not None}


def confidence(policy: Policy) -> float | None:
    """Return how sure the certificate of a policy is; None without one."""
    return 1 - policy.certificate.level if policy.feasible and policy.certificate is not None else None


def _number(content: Mapping[str, Any], key: str) -> float | None:
    """Return a finite number in somebody's JSON, None where there is none."""
    value = content.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
