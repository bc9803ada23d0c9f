"""Calibrators choose policies on the validation split for a target; one module per method.

A target that cannot be met is a result, `feasible: false` with the nearest reachable policy, and never an exception.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from offramp.cache.reading import open_cache
from offramp.calibration.choice import Choice
from offramp.calibration.per_exit import per_exit
from offramp.calibration.shared import shared
from offramp.costs import Costs
from offramp.errors import InputError
from offramp.outcomes import Outcomes, read_outcomes, require_every_class
from offramp.policies import Policies, Policy
from offramp.replay import replay, require_same_exits

METHODS: dict[str, Callable[[Outcomes, Costs, float], Choice]] = {"per_exit": per_exit, "shared": shared}


def calibrate(
    outcomes: Outcomes,
    costs: Costs,
    score: str,
    methods: Sequence[str],
    targets: Sequence[float],
    select: tuple[str, float],
) -> Policies:
    """Return one policy per method and target, in that order; `select` names the one to deploy.

    `outcomes` are those of the validation split; each policy's `validation` is its in-sample figure there.
    Raises ValueError for a `select` that is not among them.
    """
    policies = [
        _policy(method, target, METHODS[method](outcomes, costs, target), outcomes, costs)
        for method in methods
        for target in targets
    ]
    selected = [policy for policy in policies if (policy.method, policy.target) == select]
    if not selected:
        raise ValueError(f"the selected policy {select[0]}@{select[1]:g} is not among those calibrated")
    return Policies(score, dict.fromkeys(outcomes.exits, 1.0), policies, selected[0])


def calibrate_cache(
    path: Path,
    costs: Costs,
    score: str,
    methods: Sequence[str],
    targets: Sequence[float],
    select: tuple[str, float],
) -> Policies:
    """Calibrate on the validation cache at `path`; as `calibrate`.

    Raises InputError for a cache that says it is the test split, lacks labels or a whole class, or does not fit the
    costs.
    """
    cache = open_cache(path)
    if cache.metadata.get("split") == "test":
        raise InputError(f"{path} is the test split, as its metadata says; thresholds are chosen on validation only")
    outcomes = read_outcomes(cache, score)
    require_same_exits(outcomes, costs)
    require_every_class(outcomes, str(path))
    return calibrate(outcomes, costs, score, methods, targets, select)


def _policy(method: str, target: float, choice: Choice, outcomes: Outcomes, costs: Costs) -> Policy:
    result = replay(outcomes, choice.thresholds, costs)
    return Policy(
        method=method,
        target=target,
        thresholds=choice.thresholds,
        feasible=choice.feasible,
        reason=choice.reason,
        nearest=choice.nearest,
        validation={
            "accuracy": result.accuracy,
            "mac_ratio": result.mac_ratio,
            "exits": result.exits(outcomes.exits),
        },
    )
