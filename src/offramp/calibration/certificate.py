"""The certificate of a policy: everything that somebody else needs to derive it again from the validation cache."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from offramp.calibration.choice import Choice
from offramp.calibration.problem import Problem
from offramp.certificates.claims import Candidate, Claim
from offramp.certificates.sequence import Step, Walk, walk
from offramp.folds import digest
from offramp.outcomes import Outcomes

ASSUMPTIONS = [
    "the certify rows and the samples to come are independent draws from one population",
    "no certify row shaped the chain, trained the network or chose it",
    "this was the certificate to rely on before the certify labels were looked at",
]


def prove(
    problem: Problem,
    claim: Claim,
    order: Sequence[Candidate],
    family: str | None = None,
    search: Mapping[str, Any] | None = None,
) -> tuple[Choice | None, list[Step]]:
    """Walk the declared order; return the last rejected candidate with its certificate, and the steps tested.

    None where the first fails or there is none. `family` names the order where it is not that of the settings, `search`
    is what the tune fold chose a route from.
    """
    walked = walk((claim.step(candidate) for candidate in order), problem.level)
    if walked.last_rejected is None:
        return None, walked.steps
    certificate = _certificate(problem, claim, walked, len(order), family or problem.settings.family, search)
    last = walked.last_rejected
    return Choice(last.thresholds, certificate=certificate, rule=last.rule), walked.steps


def _certificate(
    problem: Problem, claim: Claim, walked: Walk, declared: int, family: str, search: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the certificate of the last rejected step of a walk along `declared` candidates."""
    rows = problem.certify.rows
    read = np.zeros(len(rows), np.bool_)
    for step in walked.steps:
        if "unlabelled" not in step.counts:
            read |= claim.labels_read(step)
    settings = problem.settings
    level = f"{1 - problem.level:.6g}"
    return {
        "statement": f"with probability at least {level} over the draw of the certify rows, {claim.statement}",
        "hypothesis": claim.hypothesis,
        "test": claim.test,
        "n": len(rows),
        "delta": settings.delta,
        "level": problem.level,
        "looks": problem.looks,
        "several": _several(problem),
        "labels_used": int(read.sum()),
        "folds": {
            "fold_seed": settings.fold_seed,
            "tune_fraction": settings.tune_fraction,
            "tune": _fold(problem.tune.rows),
            "certify": _fold(rows),
        },
        "family": family,
        **({"without_dear_exits": True} if problem.costs.measured and search is None else {}),
        **({} if search is None else {"search": search}),
        "costs": _costs(problem),
        "declared": declared,
        "returned": walked.rejected,
        "steps": [_step(step) for step in walked.steps],
        "assumptions": ASSUMPTIONS,
    }


def _several(problem: Problem) -> str:
    """Return what choosing among the certificates of one file does to the level."""
    looks, delta = problem.looks, problem.settings.delta
    if looks == 1:
        return "the only certificate from these rows"
    if problem.settings.simultaneous:
        return f"all {looks} certificates from these rows hold together with probability at least {1 - delta:.6g}"
    return (
        f"one of {looks} from the same rows, each holding alone; all together with probability at least "
        f"{max(0.0, 1 - looks * delta):.6g} (calibrate.simultaneous: true splits delta over them)"
    )


def _fold(rows: Outcomes) -> dict[str, Any]:
    return {"rows": len(rows), "sha256": digest(rows.sample)}


def _costs(problem: Problem) -> dict[str, Any]:
    """Return the costs that thinned the chain, so that it can be derived again without another file."""
    costs = problem.costs
    unit: dict[str, Any] = {"unit": costs.unit} if costs.measured else {}
    if costs.segment is None or costs.head is None:
        return unit | {"cumulative": costs.cumulative.tolist(), "full": costs.full}
    return unit | {"segment": costs.segment.tolist(), "head": costs.head.tolist(), "full": costs.full}


def _step(step: Step) -> dict[str, Any]:
    thresholds = ["inf" if threshold == np.inf else threshold for threshold in step.thresholds]
    return {"thresholds": thresholds, **step.counts, "p_value": step.p_value}
