"""Method `conformal`: the mean loss of accuracy is at most `max_loss`, in expectation over calibrations and not with a
stated probability: conformal risk control.

Two variants of what is averaged along the chain, `calibrate.conformal`. `running_max`: each sample's largest loss so
far, which never falls, so that the theorem holds. `mean`: the loss itself, every candidate up to the chosen one under
the bound; cheaper, but not covered by the theorem because a sample's loss may fall again.

Reference: Angelopoulos et al. (2024), Conformal risk control, ICLR, theorem 1.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from offramp.calibration.problem import Problem
from offramp.policies.policy import Policy, exits_taken

STATUS = {
    "running_max": "a theorem for exchangeable rows: each sample's loss is replaced by its largest one so far",
    "mean": "empirical, no theorem: a single sample's loss may fall along the chain, which the proof excludes",
}


def conformal(problem: Problem, max_loss: float) -> Policy:
    """Return the cheapest candidate before the first whose mean loss exceeds max_loss − (1 − max_loss) / n.

    Infeasible, the full network, where the first candidate does or the fold is empty.
    """
    rows = problem.certify.rows
    n, variant = len(rows), problem.settings.conformal
    bound = max_loss - (1 - max_loss) / n if n else -1.0
    worst = np.zeros(n, np.int64)
    last, risk = None, 0.0
    for candidate in problem.chain:
        taken = exits_taken(rows.uncertainty, candidate.thresholds)
        loss = rows.correct[:, -1].astype(np.int64) - rows.correct[np.arange(n), taken]
        worst = np.maximum(worst, loss)
        mean = float((worst if variant == "running_max" else loss).sum() / n) if n else 0.0
        if mean > bound:
            break
        last, risk = candidate, mean
    if last is None:
        reason = f"{n} certify rows do not bound the expected loss of the first candidate by {max_loss:g}"
        return replace(problem.full, feasible=False, reason=reason)
    return replace(last, expectation=_expectation(max_loss, n, variant, risk, bound))


def _expectation(max_loss: float, n: int, variant: str, risk: float, bound: float) -> dict[str, Any]:
    return {
        "statement": f"averaged over calibrations, the accuracy lost against the full network is at most {max_loss:g}; "
        "a single calibration may lose more",
        "variant": variant,
        "status": STATUS[variant],
        "n": n,
        "risk": risk,
        "bound": bound,
    }
