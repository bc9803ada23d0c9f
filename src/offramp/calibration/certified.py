"""Method `certified`: the cheapest policy for which it is proved that at most `max_loss` of accuracy is lost.

The tune fold shapes a chain of candidates from safe to cheap; the certify fold tests them in that order until one
fails.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from scipy.optimize import brentq
from scipy.special import ndtri

from offramp.calibration.certificates.certificate import prove
from offramp.calibration.certificates.claims import AccuracyClaim, LossClaim
from offramp.calibration.certificates.sequence import Step
from offramp.calibration.planning import POWER, rows_needed
from offramp.calibration.problem import Problem
from offramp.policies.policy import Policy
from offramp.statistics.exact_tests import GAMMA, accuracy_lower_bound, p_value


def certified(problem: Problem, max_loss: float) -> Policy:
    """Return the last rejected candidate with its certificate; infeasible, the full network, where the first fails."""
    claim = loss_claim(problem, max_loss)
    choice, steps = prove(problem, claim, problem.chain)
    if choice is not None:
        return choice
    return unproved(problem, claim, steps)


def unproved(problem: Problem, claim: LossClaim, steps: Sequence[Step]) -> Policy:
    """Return the full network, infeasible, and why: what the first test lacked, or what is empty."""
    if steps and len(problem.certify.rows):
        return _infeasible(problem, claim, steps[0])
    reason = "the certify fold is empty; lower calibrate.tune_fraction or take more validation rows"
    if not steps:
        reason = "no candidate is cheaper than the full network on the tune fold"
        if len(problem.tune.rows) == 0:
            reason = "the tune fold is empty; raise calibrate.tune_fraction or take more validation rows"
    return replace(problem.full, feasible=False, reason=reason)


def loss_claim(problem: Problem, max_loss: float) -> LossClaim:
    gamma = min(GAMMA[problem.settings.test], problem.level / 100)
    return LossClaim(problem.certify, max_loss, problem.settings.test, gamma)


def _infeasible(problem: Problem, claim: LossClaim, first: Step) -> Policy:
    n = len(problem.certify.rows)
    if "unlabelled" in first.counts:
        number = first.counts["unlabelled"]
        reason = f"{number} certify rows need a label before the first test can be made; `offramp labels` lists them"
        return replace(problem.full, feasible=False, reason=reason)
    damaged, rescued = first.counts["damaged"], first.counts["rescued"]
    reason = (
        f"on {n} certify rows the safest candidate damages {damaged} answers and rescues {rescued}: "
        f"a loss of at most {claim.max_loss:g} has p-value {first.p_value:.2g} above {problem.level:g}"
    )
    needed = rows_needed(claim.max_loss, problem.level, discordance=(damaged + rescued + 1) / (n + 2))
    return replace(
        problem.full,
        feasible=False,
        reason=reason,
        nearest=_smallest_loss(claim, n, damaged, rescued, problem.level),
        labels_needed=problem.validation_rows(needed),
    )


def _smallest_loss(claim: LossClaim, n: int, damaged: int, rescued: int, level: float) -> float | None:
    """Return the smallest `max_loss`, to 1e-4, that these counts would certify; None: none below 1."""

    def excess(max_loss: float) -> float:
        return p_value(n, damaged, rescued, max_loss, claim.order, claim.gamma) - level

    if excess(1 - 1e-6) > 0:
        return None
    steps = math.ceil(brentq(excess, claim.max_loss, 1 - 1e-6, xtol=1e-5) * 1e4)
    if excess(steps / 1e4) > 0:  # the root is not exact, nor is the p-value beyond its tolerance
        steps += 1
    return steps / 1e4


def certified_overall(problem: Problem, target: float) -> Policy:
    """Return the last rejected candidate with its certificate; infeasible, the full network, where that fails itself.

    `nearest` is then the Clopper–Pearson lower bound of the full network's accuracy at the same level.
    """
    claim = AccuracyClaim(problem.certify, target)
    order = [problem.full, *problem.chain]
    choice, steps = prove(problem, claim, order)
    return _accuracy_out_of_reach(problem, claim, steps[0]) if choice is None else choice


def _accuracy_out_of_reach(problem: Problem, claim: AccuracyClaim, full: Step) -> Policy:
    n, correct = len(problem.certify.rows), full.counts["correct"]
    reason = (
        f"on {n} certify rows the full network is right {correct} times: an accuracy of at least {claim.target:g} "
        f"has p-value {full.p_value:.2g} above {problem.level:g}"
    )
    nearest = accuracy_lower_bound(correct, n, problem.level) if n else None
    needed = _rows_needed(correct / n, claim.target, problem.level) if n else None
    total = problem.validation_rows(needed)
    return replace(problem.full, feasible=False, reason=reason, nearest=nearest, labels_needed=total)


def _rows_needed(accuracy: float, target: float, level: float) -> int | None:
    """Return about how many rows reject at this accuracy with probability POWER; None: it is not above the target."""
    if accuracy <= target:
        return None
    spread = -ndtri(level) * math.sqrt(target * (1 - target)) + ndtri(POWER) * math.sqrt(accuracy * (1 - accuracy))
    return max(math.ceil((spread / (accuracy - target)) ** 2), math.ceil(math.log(level) / math.log(target)))
