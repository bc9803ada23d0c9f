"""Evaluation: every policy replayed on the test split, with intervals and baselines.

Owns metrics/evaluation.json, plots/tradeoff.csv, plots/exits.csv and plots/difficulty.csv. All intervals are 95 %:
Wilson's for accuracies, Tango's paired one for the loss against the full network.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.cache.reading import open_cache
from offramp.costs import Costs
from offramp.errors import InputError
from offramp.files import write_csv, write_json
from offramp.intervals import paired_loss, wilson
from offramp.outcomes import Outcomes, read_outcomes
from offramp.policies import Policies, Policy, full_network
from offramp.replay import Replay, replay, require_same_exits

MEGA = 1e6
DIFFICULTY_BINS = 10
ACCURACY_COLUMNS = ["accuracy", "accuracy_low", "accuracy_high"]
TRADEOFF_COLUMNS = [
    "method",
    "target",
    "exit",
    *ACCURACY_COLUMNS,
    "mac_ratio",
    "mmacs",
    "speedup",
    "feasible",
    "selected",
]
EXIT_COLUMNS = ["method", "target", "exit", "samples", "share", *ACCURACY_COLUMNS, "mmacs"]
DIFFICULTY_COLUMNS = ["difficulty_low", "difficulty_high", "exit", "samples", "share", "accuracy"]
Row = dict[str, Any]


def read_test(path: Path, content: Policies, costs: Costs) -> Outcomes:
    """Return the outcomes of the test cache at `path` under the policies' score and temperatures.

    Raises InputError for a cache that says it is another split, or that does not fit the policies or the costs.
    """
    cache = open_cache(path)
    split = cache.metadata.get("split", "test")
    if split != "test":
        raise InputError(f"{path} is the {split} split, as its metadata says; policies are evaluated on the test split")
    if cache.exits != content.exits:
        raise InputError(f"{path} has {len(cache.exits)} exits, the policies are for {len(content.exits)}")
    for policy in content.policies:
        if policy.method not in MEETS_TARGET:
            known = ", ".join(sorted(MEETS_TARGET))
            raise InputError(f"policy {policy.name!r} has the unknown method {policy.method!r}; known: {known}")
    outcomes = read_outcomes(cache, content.score, content.temperature)
    require_same_exits(outcomes, costs)
    return outcomes


def evaluate(content: Policies, outcomes: Outcomes, costs: Costs) -> dict[str, Any]:
    """Return metrics/evaluation.json: the full network, then method by method and target by target."""
    full = _full(outcomes, costs)
    result: dict[str, Any] = {"full": {"accuracy": full.accuracy, "mmacs": full.mean_cost / MEGA}}
    for policy in content.policies:
        entry = _policy_entry(policy, replay(outcomes, policy.thresholds, costs), full, content.exits)
        result.setdefault(policy.method, {})[f"{policy.target:g}"] = entry
    return result


def write_evaluation(path: Path, content: Policies, outcomes: Outcomes, costs: Costs) -> dict[str, Any]:
    result = evaluate(content, outcomes, costs)
    write_json(path, result)
    return result


def describe(content: Policies, evaluation: dict[str, Any]) -> str:
    """Return what became of the selected policy, in two lines; an infeasible one is called so first."""
    selected = content.selected
    entry = evaluation[selected.method][f"{selected.target:g}"]
    warning = "" if selected.feasible else f"INFEASIBLE, {selected.reason}\n"
    return (
        f"{warning}full network: accuracy {evaluation['full']['accuracy']:.4f}\n"
        f"selected {selected.name}: accuracy {entry['accuracy']:.4f} "
        f"({entry['accuracy_low']:.4f} to {entry['accuracy_high']:.4f}), {entry['mac_ratio']:.3f} of the MACs"
    )


def write_tradeoff(path: Path, content: Policies, outcomes: Outcomes, costs: Costs) -> None:
    """Write accuracy against cost: every policy, and as baselines the full network, `static` exits and the `oracle`."""
    rows = [*_policy_points(content, outcomes, costs), *_baselines(outcomes, costs)]
    write_csv(path, TRADEOFF_COLUMNS, rows)


def write_exits(path: Path, content: Policies, outcomes: Outcomes, costs: Costs) -> None:
    """Write, for every policy, what each exit did: samples, share of all, accuracy of those who left there, cost."""
    rows = (
        {"method": policy.method, "target": policy.target, **row}
        for policy in content.policies
        for row in exit_table(replay(outcomes, policy.thresholds, costs), content.exits)
    )
    write_csv(path, EXIT_COLUMNS, rows)


def write_difficulty(path: Path, taken: Replay, exits: list[str], difficulty: NDArray[np.floating] | None) -> None:
    """Write where samples of each difficulty left, in ten equal bins of [0, 1]; only the header without difficulties.

    `difficulty` is (samples,) in the order of the replay.
    """
    write_csv(path, DIFFICULTY_COLUMNS, [] if difficulty is None else _difficulty_rows(taken, exits, difficulty))


def exit_table(result: Replay, exits: list[str]) -> list[Row]:
    """Return one row per exit, without accuracy and interval where nobody left; `mmacs` is one sample's cost."""
    rows = []
    for k, name in enumerate(exits):
        samples, correct = int(result.samples_at_exits[k]), int(result.correct_at_exits[k])
        row: Row = {"exit": name, "samples": samples, "share": samples / len(result.taken)}
        if samples:
            row |= _accuracy(correct, samples)
        rows.append(row | {"mmacs": float(result.cost_at_exits[k] / MEGA)})
    return rows


def _policy_entry(policy: Policy, result: Replay, full: Replay, exits: list[str]) -> dict[str, Any]:
    n = len(result.taken)
    damaged = int((full.correct & ~result.correct).sum())
    rescued = int((~full.correct & result.correct).sum())
    loss_low, loss_high = paired_loss(damaged, rescued, n)
    entry = _accuracy(int(result.correct.sum()), n)
    entry |= {"loss": (damaged - rescued) / n, "loss_low": loss_low, "loss_high": loss_high}
    entry |= _cost(result)
    entry["feasible"] = policy.feasible
    entry["meets_target"] = MEETS_TARGET[policy.method](policy, result)
    entry["exits"] = result.exits(exits)
    return entry


def _every_used_side_exit(policy: Policy, result: Replay) -> bool:
    samples, correct = result.samples_at_exits[:-1], result.correct_at_exits[:-1]
    used = samples > 0
    return bool((correct[used] / samples[used] >= policy.target).all())


def _overall_accuracy(policy: Policy, result: Replay) -> bool:
    return result.accuracy >= policy.target


# What each method promises, as a point estimate on these samples.
MEETS_TARGET: dict[str, Callable[[Policy, Replay], bool]] = {
    "per_exit": _every_used_side_exit,
    "shared": _overall_accuracy,
}


def _policy_points(content: Policies, outcomes: Outcomes, costs: Costs) -> Iterator[Row]:
    for policy in content.policies:
        result = replay(outcomes, policy.thresholds, costs)
        row: Row = {"method": policy.method, "target": policy.target}
        row |= _accuracy(int(result.correct.sum()), len(result.taken)) | _cost(result)
        yield row | {"feasible": policy.feasible, "selected": policy is content.selected}


def _baselines(outcomes: Outcomes, costs: Costs) -> Iterator[Row]:
    n = len(outcomes)
    full = _full(outcomes, costs)
    yield {"method": "full", **_accuracy(int(full.correct.sum()), n), **_cost(full)}
    for k, name in enumerate(outcomes.exits):
        static = Replay(np.full(n, k), outcomes.correct[:, k], costs.static(), costs.full)
        yield {"method": "static", "exit": name, **_accuracy(int(static.correct.sum()), n), **_cost(static)}
    oracle = _oracle(outcomes, costs)
    yield {"method": "oracle", **_accuracy(int(oracle.correct.sum()), n), **_cost(oracle)}


def _oracle(outcomes: Outcomes, costs: Costs) -> Replay:
    """Leave at the first exit that is right, knowing the label; pay every head on the way."""
    first_correct = np.where(outcomes.correct.any(axis=1), outcomes.correct.argmax(axis=1), outcomes.n_exits - 1)
    correct = outcomes.correct[np.arange(len(outcomes)), first_correct]
    return Replay(first_correct, correct, costs.at_exits([True] * outcomes.n_exits), costs.full)


def _full(outcomes: Outcomes, costs: Costs) -> Replay:
    return replay(outcomes, full_network(outcomes.n_exits), costs)


def _accuracy(correct: int, total: int) -> Row:
    low, high = wilson(correct, total)
    return {"accuracy": correct / total, "accuracy_low": low, "accuracy_high": high}


def _cost(result: Replay) -> Row:
    return {"mmacs": result.mean_cost / MEGA, "mac_ratio": result.mac_ratio, "speedup": 1 / result.mac_ratio}


def _difficulty_rows(taken: Replay, exits: list[str], difficulty: NDArray[np.floating]) -> Iterator[Row]:
    edges = np.linspace(0, 1, DIFFICULTY_BINS + 1)
    bins = np.digitize(difficulty, edges[1:-1])
    for number in range(DIFFICULTY_BINS):
        in_bin = bins == number
        if not in_bin.any():
            continue
        part = Replay(taken.taken[in_bin], taken.correct[in_bin], taken.cost_at_exits, taken.full_cost)
        for row in exit_table(part, exits):
            low, high = round(float(edges[number]), 6), round(float(edges[number + 1]), 6)
            yield {"difficulty_low": low, "difficulty_high": high} | {
                key: row[key] for key in DIFFICULTY_COLUMNS if key in row
            }
