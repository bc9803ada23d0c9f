"""Published ways to certify a loss of accuracy, for comparison: one cutoff shared by all exits, other tests.

Each is walked like ours, from safe to cheap to the first failure, on a chain as fine as ours (published code takes 100
cutoffs), so that what differs is the family and the test. All are valid.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from offramp.calibration.certificates.chains import LEVELS, STEP
from offramp.calibration.folds import Tune
from offramp.policies.costs import Costs
from offramp.policies.outcomes import Outcomes
from offramp.policies.policy import Policy, Thresholds, exits_taken
from offramp.policies.replay import replay

Floats = NDArray[np.float64]
CAP = 0.75  # of the stake that could lose everything


def shared_cutoffs(tune: Tune, costs: Costs, score: str) -> list[Policy]:  # noqa: ARG001 (like a family)
    """Return policies with the same threshold at all exits, each at least STEP cheaper on tune than the one before."""
    side = tune.rows.uncertainty[:, :-1]
    chain: list[Policy] = []
    cheapest = 1.0
    for cutoff in np.unique(np.quantile(side, np.linspace(0, 1, LEVELS))):
        policy = Policy((*(float(cutoff),) * side.shape[1], math.inf))
        mac_ratio = replay(tune.rows, policy, costs).cost_ratio
        if mac_ratio <= cheapest - STEP:
            chain.append(policy)
            cheapest = mac_ratio
    return chain


def betting_p_value(rows: Outcomes, thresholds: Thresholds, max_loss: float, delta: float) -> float:
    """Return the p-value of E[D] >= max_loss by betting on D in [−1, 1], in the order of the rows.

    Reference: Waudby-Smith & Ramdas (2024), JRSS B 86(1), the hedge of their remark 3; used by Jazbec et al. (2024),
    Fast yet safe: early-exiting with risk control, NeurIPS, with one shared threshold.
    """
    n = len(rows)
    z = (1 + _damage(rows, thresholds)) / 2  # in [0, 1]
    m = (1 + max_loss) / 2
    seen = np.arange(1, n + 1)
    centre = (0.5 + np.cumsum(z)) / (seen + 1)
    variance = (0.25 + np.cumsum((z - centre) ** 2)) / (seen + 1)
    before = np.concatenate([[0.25], variance[:-1]])  # stakes know the past alone
    stake = np.minimum(np.sqrt(2 * math.log(1 / delta) / (n * before)), CAP / (1 - m))
    wealth = np.cumsum(np.log1p(stake * (m - z)))
    return float(min(1.0, math.exp(-wealth.max())))


def damage_p_value(rows: Outcomes, thresholds: Thresholds, max_loss: float, delta: float) -> float:  # noqa: ARG001
    """Return the exact p-value of P(D = 1) >= max_loss: rescued answers count nothing.

    Reference: the gap of Ringel et al. (2024), Early time classification with accumulated accuracy gap control, ICML;
    Jazbec et al. (2024), as above, whose learn then test clips losses at 0.
    """
    damaged = int((_damage(rows, thresholds) == 1).sum())
    return float(bdtr(damaged, len(rows), max_loss))


def consistency_p_value(rows: Outcomes, thresholds: Thresholds, max_loss: float, delta: float) -> float:  # noqa: ARG001
    """Return the exact p-value of P(the answer is not the full network's) >= max_loss: needs no label.

    Reference: the textual consistency of Schuster et al. (2022), Confident adaptive language modeling, NeurIPS.
    """
    taken = exits_taken(rows.uncertainty, thresholds)
    changed = int((~rows.agrees[np.arange(len(rows)), taken]).sum())
    return float(bdtr(changed, len(rows), max_loss))


def _damage(rows: Outcomes, thresholds: Thresholds) -> Floats:
    """Return D (samples,): full network right − policy right."""
    taken = exits_taken(rows.uncertainty, thresholds)
    return rows.correct[:, -1].astype(np.float64) - rows.correct[np.arange(len(rows)), taken]
