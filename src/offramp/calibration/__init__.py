"""Calibrators choose policies on the validation split for a target; one module per method, all in `methods`.

A target that cannot be met is a result, `feasible: false` with the nearest reachable policy, and never an exception.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from offramp.cache.reading import open_cache
from offramp.calibration.methods import CALIBRATORS
from offramp.calibration.problem import Problem
from offramp.calibration.routes import route_look
from offramp.calibration.settings import Settings
from offramp.policies.costs import Costs
from offramp.policies.methods import METHODS
from offramp.policies.outcomes import Outcomes, read_outcomes, require_every_class
from offramp.policies.policy import Policies, Policy
from offramp.policies.replay import costs_under, replay, require_same_exits
from offramp.project.errors import InputError
from offramp.scores.fitting import fit_scoring
from offramp.scores.scoring import Scoring


def calibrate(outcomes: Outcomes, costs: Costs, scoring: Scoring, settings: Settings) -> Policies:
    """Return one policy per method and target wanted, in that order; `settings.selected` names the one to deploy.

    `outcomes` are those of the validation split. Raises ValueError for a selection that is not among those wanted.
    """
    problem = make_problem(outcomes, costs, scoring, settings)
    policies = [_policy(problem, scoring, method, target) for method, target in settings.wanted]
    selected = [policy for policy in policies if (policy.method, policy.target) == settings.selected]
    if not selected:
        method, target = settings.selected
        raise ValueError(f"the selected policy {method}@{target:g} is not among those calibrated")
    return Policies(scoring, policies, selected[0], costs if costs.measured else None)


def make_problem(outcomes: Outcomes, costs: Costs, scoring: Scoring, settings: Settings) -> Problem:
    """Return the inputs of all methods, with the number of certificates that are tested on the same certify rows."""
    looks = sum(METHODS[method].certifies for method, _ in settings.wanted)
    return Problem(outcomes, costs_under(scoring, costs), settings, looks)


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
    frugal = " and ".join(name for name, method in METHODS.items() if not method.needs_every_label)
    if missing and needing:
        raise InputError(
            f"{path}: {missing} of {len(outcomes)} labels are null; only method {frugal} does without them all, and "
            f"calibrate.methods asks for {', '.join(needing)} too"
        )


def _policy(problem: Problem, scoring: Scoring, method: str, target: float) -> Policy:
    choice = CALIBRATORS[method](problem, target)
    rows = problem.certify.rows if METHODS[method].on_certify else problem.outcomes
    figures = _figures(rows, choice, problem.costs)
    return replace(choice, scoring=scoring, method=method, target=target, validation=figures)


def _figures(rows: Outcomes, choice: Policy, costs: Costs) -> dict[str, Any]:
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
