"""Calibrators choose policies on the validation split for a target; one module per method.

A target that cannot be met is a result, `feasible: false` with the nearest reachable policy, and never an exception.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from offramp.cache.reading import open_cache
from offramp.calibration.batch import batch
from offramp.calibration.budget import budget
from offramp.calibration.certified import certified
from offramp.calibration.certified_overall import certified_overall
from offramp.calibration.certified_per_exit import certified_per_exit
from offramp.calibration.certified_routes import certified_route
from offramp.calibration.choice import Choice
from offramp.calibration.conformal import conformal
from offramp.calibration.overall import overall
from offramp.calibration.per_exit import per_exit
from offramp.calibration.problem import Problem
from offramp.calibration.routes import FITS, choose, route_look
from offramp.calibration.shared import shared
from offramp.costs import Costs
from offramp.errors import InputError
from offramp.fitting import fit_scoring
from offramp.outcomes import Outcomes, read_outcomes, require_every_class
from offramp.policies import Policies, Policy
from offramp.replay import replay, require_same_exits
from offramp.scoring import Scoring
from offramp.settings import Settings


@dataclass(frozen=True)
class Method:
    """How a method chooses, and on which rows: all of validation, or those outside the tune fold."""

    choose: Callable[[Problem, float], Choice]
    on_certify: bool = False
    certifies: bool = False
    needs_every_label: bool = True


def _route(name: str, problem: Problem, target: float) -> Choice:
    return choose(problem.routes, name, target)


CERTIFIED_ROUTES = ("every_exit", "placed", "predictive", "single_jump", "learned")
ROUTE_METHODS: dict[str, Method] = {name: Method(partial(_route, name), on_certify=True) for name in FITS}
ROUTE_METHODS |= {
    f"certified_{name}": Method(partial(certified_route, name), on_certify=True, certifies=True)
    for name in CERTIFIED_ROUTES
}
METHODS: dict[str, Method] = {
    "per_exit": Method(lambda problem, target: per_exit(problem.outcomes, problem.costs, target)),
    "shared": Method(lambda problem, target: shared(problem.outcomes, problem.costs, target)),
    "overall": Method(lambda problem, target: overall(problem.joint, target)),
    "batch": Method(
        lambda problem, target: batch(
            problem.outcomes, problem.costs, target, problem.settings.batch_size, problem.settings.batch_reduce
        )
    ),
    "budget": Method(lambda problem, target: budget(problem.joint, target)),
    "certified": Method(certified, on_certify=True, certifies=True, needs_every_label=False),
    "certified_overall": Method(certified_overall, on_certify=True, certifies=True),
    "certified_per_exit": Method(certified_per_exit, on_certify=True, certifies=True),
    "conformal": Method(conformal, on_certify=True),
} | ROUTE_METHODS


def calibrate(outcomes: Outcomes, costs: Costs, scoring: Scoring, settings: Settings) -> Policies:
    """Return one policy per method and target wanted, in that order; `settings.selected` names the one to deploy.

    `outcomes` are those of the validation split. Raises ValueError for a selection that is not among those wanted.
    """
    problem = pose(outcomes, costs, scoring, settings)
    policies = [_policy(problem, method, target) for method, target in settings.wanted]
    selected = [policy for policy in policies if (policy.method, policy.target) == settings.selected]
    if not selected:
        method, target = settings.selected
        raise ValueError(f"the selected policy {method}@{target:g} is not among those calibrated")
    return Policies(scoring, policies, selected[0], costs if costs.measured else None)


def pose(outcomes: Outcomes, costs: Costs, scoring: Scoring, settings: Settings) -> Problem:
    """Return the problem that all methods solve, with the number of certificates that look at the same rows."""
    looks = sum(METHODS[method].certifies for method, _ in settings.wanted)
    return Problem(outcomes, scoring.costs(costs), settings, looks)


def calibrate_cache(path: Path, costs: Costs, settings: Settings) -> Policies:
    """Calibrate on the validation cache at `path`; as `calibrate`.

    Raises InputError for a cache that says it is the test split, lacks a whole class or labels that a method needs, or
    does not fit the costs.
    """
    outcomes, scoring = read_validation(path, costs, settings)
    _require_labels(outcomes, settings, path)
    if outcomes.labelled.all():
        require_every_class(outcomes, str(path))
    return calibrate(outcomes, costs, scoring, settings)


def read_validation(path: Path, costs: Costs, settings: Settings) -> tuple[Outcomes, Scoring]:
    """Return the outcomes of a validation cache and the scoring that was fitted on its tune fold.

    Raises InputError where it says it is the test split or does not fit the costs.
    """
    cache = open_cache(path)
    if cache.metadata.get("split") == "test":
        raise InputError(f"{path} is the test split, as its metadata says; thresholds are chosen on validation only")
    folds = (settings.tune_fraction, settings.fold_seed)
    scoring = fit_scoring(cache, settings.score, settings.temperature, *folds, settings.statistic)
    look = route_look([method for method, _ in settings.wanted], scoring, settings.predictive)
    outcomes = read_outcomes(cache, scoring, labels_required=False, look=look)
    require_same_exits(outcomes, costs)
    return outcomes, scoring


def _require_labels(outcomes: Outcomes, settings: Settings, path: Path) -> None:
    missing = int((~outcomes.labelled).sum())
    needing = list(dict.fromkeys(m for m, _ in settings.wanted if METHODS[m].needs_every_label))
    if missing and needing:
        raise InputError(
            f"{path}: {missing} of {len(outcomes)} labels are null; only method certified does without them all, and "
            f"calibrate.methods asks for {', '.join(needing)} too"
        )


def _policy(problem: Problem, method: str, target: float) -> Policy:
    choice = METHODS[method].choose(problem, target)
    rows = problem.certify.rows if METHODS[method].on_certify else problem.outcomes
    return Policy(
        method=method,
        target=target,
        thresholds=choice.thresholds,
        feasible=choice.feasible,
        reason=choice.reason,
        nearest=choice.nearest,
        validation=_figures(rows, choice, problem.costs),
        certificate=choice.certificate,
        expectation=choice.expectation,
        labels_needed=choice.labels_needed,
        rule=choice.rule,
    )


def _figures(rows: Outcomes, choice: Choice, costs: Costs) -> dict[str, Any]:
    """Return accuracy, loss against the full network and cost on these rows; only the cost where a label is unknown."""
    if len(rows) == 0:
        return {}
    result = replay(rows, choice, costs)
    exits = result.exits(rows.exits)
    if not rows.labelled.all():
        return {
            result.ratio: result.cost_ratio,
            "exits": {name: {"share": row["share"]} for name, row in exits.items()},
        }
    loss = float((rows.correct[:, -1].sum() - result.correct.sum()) / len(rows))
    return {"accuracy": result.accuracy, "loss": loss, result.ratio: result.cost_ratio, "exits": exits}
