"""Three classic mistakes, with numbers: the inverted test, thresholds tuned on test, the forgotten last exit.

All are found in published solutions of the same assignment. Uncertainty is entropy at temperature 1, in nats.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.cifar10.tasks import read_entropy
from offramp.calibration.joint_search import Joint
from offramp.calibration.overall_and_budget import overall
from offramp.policies.costs import Costs, read_costs
from offramp.policies.outcomes import Outcomes
from offramp.policies.policy import Policy, full_network
from offramp.policies.replay import Replay, replay

CUTOFF = 0.6  # nats
LOSSES = (0.005, 0.01, 0.02)  # asked for when tuning: accuracy of the full network minus this
TUNED_ON = (500, 1000, 2500)  # rows that thresholds are tuned on, and claims made on
REPEATS = 40


def mistakes(clone: Path) -> dict[str, Any]:
    """Return the figures of the three mistakes on the test split of a finished pipeline."""
    test = read_entropy(clone, "test")
    costs = read_costs(clone / "metrics/costs.json")
    return {
        "cutoff": CUTOFF,
        "inverted_test": _inverted(test, costs),
        "tuned_on_test": _tuned(test, costs),
        "forgotten_last_exit": _forgotten(test, costs),
    }


def _inverted(test: Outcomes, costs: Costs) -> dict[str, Any]:
    """Leave where entropy is *above* the cutoff: the least confident go first."""
    limits = (CUTOFF,) * (test.n_exits - 1) + (math.inf,)
    inverted = Outcomes(
        test.sample, test.label, -test.uncertainty, test.correct, test.agrees, test.exits, test.class_names
    )
    against = (*(-limit for limit in limits[:-1]), math.inf)
    full = replay(test, Policy(full_network(test.n_exits)), costs)
    return {
        "right": _figures(replay(test, Policy(limits), costs), test.exits),
        "mistake": _figures(replay(inverted, Policy(against), costs), test.exits),
        "full": {"accuracy": full.accuracy, "mac_ratio": full.cost_ratio},
    }


def _figures(result: Replay, exits: list[str]) -> dict[str, Any]:
    return {"accuracy": result.accuracy, "mac_ratio": result.cost_ratio, "exits": result.exits(exits)}


def _tuned(test: Outcomes, costs: Costs) -> list[dict[str, Any]]:
    """Tune every exit's threshold on n random rows; compare the accuracy claimed there with that on all other rows."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for n in (n for n in TUNED_ON if 2 * n <= len(test)):
        for loss in LOSSES:
            gaps, missed = [], []
            for _ in range(REPEATS):
                order = rng.permutation(len(test))
                gap, short = _gap(test.take(order[:n]), test.take(order[n:]), costs, loss)
                gaps.append(gap)
                missed.append(short)
            rows.append(_gap_row(n, loss, np.array(gaps), np.array(missed)))
    return rows


def _gap(seen: Outcomes, unseen: Outcomes, costs: Costs, loss: float) -> tuple[float, bool]:
    """Return the loss beyond the claimed one on unseen rows, and whether that is more than was asked for."""
    full = float(seen.correct[:, -1].mean())
    thresholds = overall(Joint(seen, costs), full - loss).thresholds
    claimed = full - replay(seen, Policy(thresholds), costs).accuracy
    true = float(unseen.correct[:, -1].mean()) - replay(unseen, Policy(thresholds), costs).accuracy
    return true - claimed, true > loss


def _gap_row(n: int, loss: float, gaps: NDArray[np.float64], missed: NDArray[np.bool_]) -> dict[str, Any]:
    return {
        "rows": n,
        "loss_asked_for": loss,
        "repeats": len(gaps),
        "true_minus_claimed_loss": float(gaps.mean()),
        "standard_error_over_tunings": float(gaps.std(ddof=1) / math.sqrt(len(gaps))),
        "loses_more_than_asked_for": float(missed.mean()),
    }


def _forgotten(test: Outcomes, costs: Costs) -> dict[str, Any]:
    """Report accuracy without those who leave at the last exit, or weighted by who *reaches* an exit."""
    result = replay(test, Policy((CUTOFF,) * (test.n_exits - 1) + (math.inf,)), costs)
    samples, correct = result.samples_at_exits, result.correct_at_exits
    reaching = len(test) - np.concatenate([[0], np.cumsum(samples)[:-1]])
    some = samples > 0
    at_exits = correct[some] / samples[some]
    return {
        "right": result.accuracy,
        "mistake_early_exits_only": float(correct[:-1].sum() / max(samples[:-1].sum(), 1)),
        "mistake_weighted_by_reaching": float((at_exits * reaching[some]).sum() / reaching[some].sum()),
        "mistake_mean_over_exits": float(at_exits.mean()),
        "share_at_last_exit": float(samples[-1] / len(test)),
        "accuracy_at_last_exit": float(correct[-1] / max(samples[-1], 1)),
    }
