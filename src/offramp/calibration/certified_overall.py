"""Method `certified_overall`: the cheapest policy for which an accuracy of at least `target` is proved.

The chain of `certified`, with the full network as its first candidate: where even that fails, nothing can be claimed.
"""

import math

from scipy.special import ndtri

from offramp.calibration.certificate import prove
from offramp.calibration.choice import Choice
from offramp.calibration.problem import Problem
from offramp.certificates.binomial import accuracy_lower_bound
from offramp.certificates.claims import AccuracyClaim
from offramp.certificates.sequence import Step
from offramp.planning import POWER


def certified_overall(problem: Problem, target: float) -> Choice:
    """Return the last rejected candidate with its certificate; infeasible, the full network, where that fails itself.

    `nearest` is then the Clopper–Pearson lower bound of the full network's accuracy at the same level.
    """
    claim = AccuracyClaim(problem.certify, target)
    order = [problem.full, *(candidate.thresholds for candidate in problem.chain)]
    choice, steps = prove(problem, claim, order)
    return _infeasible(problem, claim, steps[0]) if choice is None else choice


def _infeasible(problem: Problem, claim: AccuracyClaim, full: Step) -> Choice:
    n, correct = len(problem.certify.rows), full.counts["correct"]
    reason = (
        f"on {n} certify rows the full network is right {correct} times: an accuracy of at least {claim.target:g} "
        f"has p-value {full.p_value:.2g} above {problem.level:g}"
    )
    nearest = accuracy_lower_bound(correct, n, problem.level) if n else None
    needed = _rows_needed(correct / n, claim.target, problem.level) if n else None
    total = problem.validation_rows(needed)
    return Choice(problem.full, feasible=False, reason=reason, nearest=nearest, labels_needed=total)


def _rows_needed(accuracy: float, target: float, level: float) -> int | None:
    """Return about how many rows reject at this accuracy with probability POWER; None: it is not above the target."""
    if accuracy <= target:
        return None
    spread = -ndtri(level) * math.sqrt(target * (1 - target)) + ndtri(POWER) * math.sqrt(accuracy * (1 - accuracy))
    return max(math.ceil((spread / (accuracy - target)) ** 2), math.ceil(math.log(level) / math.log(target)))
