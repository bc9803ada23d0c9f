"""The two tasks of the course assignment on entropy exits, answered from a finished pipeline.

Task 1: every exit by itself, the network at one cutoff of 0.6 nats per exit, and 100 cutoffs. Task 2: thresholds for
80 % at each side exit and for overall accuracies, chosen on validation and measured on test; beside them, labelled as
the mistake it is, what choosing on test would have claimed.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from offramp.cache.reading import open_cache
from offramp.calibration.joint_search import Joint
from offramp.calibration.overall_and_budget import overall
from offramp.calibration.per_exit import per_exit
from offramp.calibration.shared import shared
from offramp.policies.costs import Costs, read_costs
from offramp.policies.file import read_policies
from offramp.policies.outcomes import Outcomes, read_outcomes
from offramp.policies.replay import replay
from offramp.scores.scoring import Scoring
from offramp.statistics.intervals import wilson

METHODS = ("per_exit", "shared", "overall")
CUTOFF_POLICY = "cutoff@0.6"


def read_entropy(clone: Path, split: str) -> Outcomes:
    cache = open_cache(clone / f"data/logits/{split}.parquet")
    return read_outcomes(cache, Scoring.plain("entropy", cache.exits))


def exits_alone(clone: Path) -> dict[str, Any]:
    """Return every exit's accuracy when everyone leaves there: on test, and on val and test together."""
    splits = {split: read_entropy(clone, split).correct for split in ("val", "test")}
    together = np.concatenate(list(splits.values()))
    exits = [f"exit_{k + 1}" for k in range(together.shape[1])]
    return {
        "samples_test": len(splits["test"]),
        "samples_val_and_test": len(together),
        "test": dict(zip(exits, splits["test"].mean(0).tolist(), strict=True)),
        "val_and_test": dict(zip(exits, together.mean(0).tolist(), strict=True)),
    }


def tasks(clone: Path) -> dict[str, Any]:
    """Return Task 1 at the cutoff 0.6 and Task 2; the 100 cutoffs of Task 1 stand in sweep.csv."""
    return {"task_1": _task_1(clone), "task_2": _task_2(clone)}


def _task_1(clone: Path) -> dict[str, Any]:
    """Return samples, accuracy and seconds per exit at the cutoff, live, beside the full network."""
    measured = json.loads((clone / "metrics/benchmark.json").read_text(encoding="utf-8"))
    return {"about": measured["about"], "full": measured["full"], CUTOFF_POLICY: measured[CUTOFF_POLICY]}


def _task_2(clone: Path) -> dict[str, Any]:
    evaluation = json.loads((clone / "metrics/evaluation.json").read_text(encoding="utf-8"))
    policies = read_policies(clone / "metrics/policies.json")
    test = read_entropy(clone, "test")
    costs = read_costs(clone / "metrics/costs.json")
    found: dict[str, Any] = {}
    for policy in policies.policies:
        if policy.method in METHODS:
            honest = evaluation[policy.method][f"{policy.target:g}"]
            found[policy.name] = {
                "chosen_on_val": {key: honest[key] for key in _HONEST if key in honest} | {"exits": honest["exits"]},
                "mistake_chosen_on_test": _on_test(policy.method, policy.target, test, costs),
            }
    return found


_HONEST = ("feasible", "validation_accuracy", "accuracy", "accuracy_low", "accuracy_high", "mac_ratio", "meets_target")


def _on_test(method: str, target: float, test: Outcomes, costs: Costs) -> dict[str, Any]:
    """Return what is claimed by somebody who chooses thresholds on the test rows and reports on them."""
    match method:
        case "per_exit":
            choice = per_exit(test, costs, target)
        case "shared":
            choice = shared(test, costs, target)
        case _:
            choice = overall(Joint(test, costs), target)
    claimed = replay(test, choice, costs)
    low, high = wilson(int(claimed.correct.sum()), len(test))
    return {
        "feasible": choice.feasible,
        "accuracy": claimed.accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
        "mac_ratio": claimed.cost_ratio,
        "exits": claimed.exits(test.exits),
    }
