"""The certificate of a policy: everything that its derivation from the validation cache needs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from offramp.cache.folds import digest
from offramp.calibration.certificates.claims import Claim
from offramp.calibration.certificates.sequence import Step, TestSequence, in_sequence
from offramp.calibration.problem import Problem
from offramp.policies.certificate import Certificate, CertificateCosts
from offramp.policies.outcomes import Outcomes
from offramp.policies.policy import Policy

ASSUMPTIONS = [
    "the certify rows and the samples to come are independent draws from one population",
    "no certify row shaped the chain, trained the network or chose it",
    "this was the certificate to rely on before the certify labels were looked at",
]


def prove(
    problem: Problem,
    claim: Claim,
    order: Sequence[Policy],
    family: str | None = None,
    search: Mapping[str, Any] | None = None,
) -> tuple[Policy | None, list[Step]]:
    """Test the declared order; return the last rejected candidate with its certificate, and the steps tested.

    None where the first fails or there is none. `family` names the order where it is not that of the settings, `search`
    is what the tune fold chose a route from.
    """
    tested = in_sequence((claim.step(candidate) for candidate in order), problem.level)
    if tested.last_rejected is None:
        return None, tested.steps
    certificate = _certificate(problem, claim, tested, len(order), family or problem.settings.family, search)
    return replace(tested.last_rejected, certificate=certificate), tested.steps


def _certificate(
    problem: Problem, claim: Claim, tested: TestSequence, declared: int, family: str, search: Mapping[str, Any] | None
) -> Certificate:
    """Return the certificate of the last rejected step of a sequence of `declared` candidates."""
    rows = problem.certify.rows
    read = np.zeros(len(rows), np.bool_)
    for step in tested.steps:
        if "unlabelled" not in step.counts:
            read |= claim.labels_read(step.policy)
    settings = problem.settings
    level = f"{1 - problem.level:.6g}"
    content = {
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
        "without_dear_exits": problem.costs.measured and search is None,
        "search": search,
        "costs": CertificateCosts.of(problem.costs),
        "declared": declared,
        "returned": tested.rejected,
        "steps": [_step(step) for step in tested.steps],
        "assumptions": ASSUMPTIONS,
    }
    return Certificate.model_validate(content)


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


def _step(step: Step) -> dict[str, Any]:
    thresholds = ["inf" if threshold == np.inf else threshold for threshold in step.policy.thresholds]
    return {"thresholds": thresholds, **step.counts, "p_value": step.p_value}
