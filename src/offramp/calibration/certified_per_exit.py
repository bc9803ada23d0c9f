"""Method `certified_per_exit`: at every enabled side exit, an accuracy of at least `target` is proved.

One chain is declared on the tune fold, its safety margin falling from 8 to 0 standard errors; the certify fold walks it
with the intersection–union test, which does not divide the level among the exits. Costs play a part only where they are
times: exits that take more than they save on the tune fold are then left out.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from offramp.calibration.certificates.certificate import prove
from offramp.calibration.certificates.chains import affordable, after
from offramp.calibration.certificates.claims import ExitAccuracyClaim
from offramp.calibration.folds import Tune
from offramp.calibration.problem import Problem
from offramp.policies.costs import Costs
from offramp.policies.outcomes import Outcomes
from offramp.policies.policy import Policy, Threshold, Thresholds, full_network
from offramp.policies.rules import leaves
from offramp.scores.registry import score_named
from offramp.statistics.logistic import fit_logistic

MARGINS = [round(8 - step / 10, 1) for step in range(81)]


def certified_per_exit(problem: Problem, target: float) -> Policy:
    """Return the last rejected candidate with its certificate; infeasible, the full network, where the first fails."""
    order = declare(problem.tune, len(problem.certify.rows), target, problem.costs, problem.settings.score)
    claim = ExitAccuracyClaim(problem.certify, target)
    choice, steps = prove(problem, claim, order, family="accuracy_margin")
    if choice is not None:
        return choice
    reason = f"on the tune fold no side exit seems to have a group of samples with an accuracy of {target:g}"
    if steps:
        reason = (
            f"the safest candidate does not prove an accuracy of {target:g} at its side exits: "
            f"p-value {steps[0].p_value:.2g} above {problem.level:g}"
        )
    return replace(problem.full, feasible=False, reason=reason)


def declare(tune: Tune, n_certify: int, target: float, costs: Costs, score: str) -> list[Policy]:
    """Return the candidates with at least one side exit, from safe to cheap, each once; of the certify fold, its size.

    Empty where a fold is.
    """
    rows = tune.rows
    if len(rows) == 0 or n_certify == 0:
        return []
    candidates = (_candidate(rows, target, margin, n_certify / len(rows), score) for margin in MARGINS)
    cheaper = (affordable(candidate, rows, costs) for candidate in candidates)
    full = full_network(rows.n_exits)
    return [Policy(candidate) for candidate in dict.fromkeys(cheaper) if candidate != full]


def _candidate(tune: Outcomes, target: float, margin: float, ratio: float, score: str) -> Thresholds:
    """Return, exit by exit over those still there, the largest group whose smoothed accuracy clears the margin.

    The margin is in standard errors of an accuracy of `target` on as many certify rows as the group lets expect.
    """
    staying = np.ones(len(tune), np.bool_)
    thresholds: list[Threshold] = []
    for k in range(tune.n_exits - 1):
        value = tune.uncertainty[staying, k]
        order = np.argsort(value, kind="stable")
        accuracy = _smoothed_accuracy(value[order], tune.correct[staying, k][order], score)
        expected = ratio * np.arange(1, len(value) + 1)
        clears = np.flatnonzero(accuracy >= target + margin * np.sqrt(target * (1 - target) / expected))
        threshold = after(value[order], int(clears[-1]) + 1) if len(clears) else None
        thresholds.append(threshold)
        if threshold is not None:
            staying &= ~leaves(tune.uncertainty[:, k], threshold)
    return (*thresholds, math.inf)


def _smoothed_accuracy(value: NDArray[np.float64], correct: NDArray[np.bool_], score: str) -> NDArray[np.float64]:
    """Return the mean fitted probability of a right answer of the first 1, 2, … samples by uncertainty."""
    if len(value) == 0:
        return np.empty(0)
    regressors = score_named(score).regressors(value)
    fitted = expit(fit_logistic(regressors, correct).log_odds(regressors))
    return np.asarray(np.cumsum(fitted) / np.arange(1, len(value) + 1))
