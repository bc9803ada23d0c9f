"""When early exit, when a smaller model: every network that ends at exit k against the calibrated policies.

A smaller model is the network cut off after exit k, with that one head; the last one is the full network. For each, two
policies are looked for **on validation**: the most accurate that is not dearer, and the cheapest that is at least as
accurate. What is compared is then measured on test, sample by sample, so that picking out a policy flatters nobody.

Owns metrics/smaller.json and plots/smaller.csv.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from offramp.evaluation.comparison import Comparison
from offramp.evaluation.tables import Row, accuracy_of
from offramp.policies.costs import Costs
from offramp.policies.outcomes import Outcomes
from offramp.policies.policy import Policies, Policy
from offramp.policies.replay import Replay, costs_under, replay
from offramp.project.files import write_json
from offramp.project.tables import write_table

# Verdicts on a smaller model, each at 95 %.
BEATEN = "beaten"  # a policy that is not dearer is more accurate
MATCHED = "matched"  # a policy costs less, and its accuracy is not shown to be lower
AS_GOOD = "as_good"  # neither: it and the policies that are not dearer cannot be told apart
UNBEATEN = "unbeaten"  # it is more accurate than the most accurate policy that is not dearer
NO_POLICY = "no_policy"  # no policy is as cheap
SAME_COST, SAME_ACCURACY = "same_cost", "same_accuracy"
NEARLY_ALL = 0.9  # share of samples at one exit from which a policy is in effect the network that ends there
DIFFERENCE = ["accuracy_difference", "accuracy_difference_low", "accuracy_difference_high"]


@dataclass(frozen=True)
class Against:
    """A policy against a smaller model on test: differences are the policy's minus the model's."""

    policy: Policy
    row: Row


@dataclass(frozen=True)
class Smaller:
    """The network that ends at one exit: its figures on test, and the policies it is held against, by what is alike."""

    exit: str
    row: Row
    against: dict[str, Against] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        same_cost, same_accuracy = self.against.get(SAME_COST), self.against.get(SAME_ACCURACY)
        if same_cost is not None and same_cost.row["accuracy_difference_low"] > 0:
            return BEATEN
        if same_accuracy is not None and _is_cheaper(same_accuracy.row):
            return MATCHED
        if same_cost is None:
            return NO_POLICY
        return UNBEATEN if same_cost.row["accuracy_difference_high"] < 0 else AS_GOOD


def compare_truncated(content: Policies, val: Outcomes, test: Outcomes, costs: Costs) -> list[Smaller]:
    """Return every exit's network, first to last, against the policies of a file; `costs` are those of a costs file."""
    costs = costs_under(content.scoring, costs)
    on_val = [(policy, replay(val, policy, costs)) for policy in content.policies]
    found = []
    for k, name in enumerate(test.exits):
        static = _static(test, costs, k)
        row = accuracy_of(static) | {static.ratio: static.cost_ratio}
        chosen = _choose(on_val, _static(val, costs, k))
        held = {key: _against(policy, static, replay(test, policy, costs), k) for key, policy in chosen.items()}
        found.append(Smaller(name, row, held))
    return found


def _static(outcomes: Outcomes, costs: Costs, k: int) -> Replay:
    return Replay(
        np.full(len(outcomes), k), outcomes.correct[:, k], costs.static(), costs.full, costs.unit
    )  # everyone pays segments 1…k and head k


def _choose(on_val: list[tuple[Policy, Replay]], static: Replay) -> dict[str, Policy]:
    """Return the policies to hold against a smaller model, by what is alike; of equals the cheapest, then the first."""
    chosen = {}
    not_dearer = [pair for pair in on_val if pair[1].mean_cost <= static.mean_cost]
    if not_dearer:
        chosen[SAME_COST] = max(not_dearer, key=lambda pair: (pair[1].accuracy, -pair[1].mean_cost))[0]
    as_accurate = [pair for pair in on_val if pair[1].accuracy >= static.accuracy]
    if as_accurate:
        chosen[SAME_ACCURACY] = min(as_accurate, key=lambda pair: pair[1].mean_cost)[0]
    return chosen


def _against(policy: Policy, static: Replay, result: Replay, k: int) -> Against:
    """Return figures on test, with paired bootstrap intervals of the differences; of batches where these decide."""
    _, gap = Comparison(result, static, static).bootstrap()
    ratio = result.ratio
    row: Row = accuracy_of(result) | {ratio: result.cost_ratio, "leave_there": float((result.taken == k).mean())}
    gains = (-gap["loss"] + 0.0, -gap["loss_high"] + 0.0, -gap["loss_low"] + 0.0)  # + 0.0: no -0.0
    row |= dict(zip(DIFFERENCE, gains, strict=True))
    return Against(policy, row | {f"cost_difference{end}": gap[f"{ratio}{end}"] for end in ("", "_low", "_high")})


def _is_cheaper(row: Row) -> bool:
    return bool(row["cost_difference_high"] < 0 and row["accuracy_difference_high"] >= 0)


def write_smaller(metrics: Path, table: Path, found: list[Smaller], ratio: str) -> None:
    """Write both files; `ratio` is what cost / full is called, as in `Costs.ratio`."""
    exits = {}
    for model in found:
        exits[model.exit] = model.row | {"verdict": model.verdict}
        for key, held in model.against.items():
            exits[model.exit][key] = {"policy": held.policy.name, "feasible": held.policy.feasible, **held.row}
    write_json(metrics, {"exits": exits, "conclusion": conclusion(found, ratio)}, digits=6)
    figures = ["accuracy", "accuracy_low", "accuracy_high", ratio, "leave_there", *DIFFERENCE]
    figures += [f"cost_difference{end}" for end in ("", "_low", "_high")]
    write_table(table, ["exit", "network", "alike", "policy", "feasible", *figures], _table(found))


def _table(found: list[Smaller]) -> Iterator[Row]:
    for model in found:
        yield {"exit": model.exit, "network": "static", **model.row}
        for key, held in model.against.items():
            about = {"network": "policy", "alike": key, "policy": held.policy.name, "feasible": held.policy.feasible}
            yield {"exit": model.exit, **about, **held.row}


def conclusion(found: list[Smaller], ratio: str) -> str:
    """Return in words what the figures say, the last network being the full one."""
    by_verdict = {
        verdict: [model for model in found if model.verdict == verdict]
        for verdict in (BEATEN, MATCHED, AS_GOOD, UNBEATEN, NO_POLICY)
    }
    words = [_beaten(by_verdict[BEATEN]), _matched(by_verdict[MATCHED], ratio), *map(_as_good, by_verdict[AS_GOOD])]
    words += [_unbeaten(by_verdict[UNBEATEN]), _no_policy(by_verdict[NO_POLICY], found, ratio), _answer(found, ratio)]
    return " ".join(filter(None, words))


def _beaten(models: list[Smaller]) -> str:
    if not models:
        return ""
    gains = ", ".join(_gap(model.against[SAME_COST].row) for model in models)
    return f"At no more cost, early exit is more accurate than {_networks(models)}: by {gains}."


def _matched(models: list[Smaller], ratio: str) -> str:
    if not models:
        return ""
    words = []
    for model in models:
        row = model.against[SAME_ACCURACY].row
        words.append(
            f"{row[ratio] / model.row[ratio]:.0%} of the cost of {_networks([model])}, with an accuracy that "
            f"differs by {_gap(row)}"
        )
    return f"Early exit is not shown to be less accurate at {'; at '.join(words)}."


def _as_good(model: Smaller) -> str:
    row = model.against[SAME_COST].row
    because = ""
    if row["leave_there"] >= NEARLY_ALL:
        because = f", where {row['leave_there']:.0%} of the images leave under that policy"
    return (
        f"{_networks([model]).capitalize()}{because}, is as good as the best policy that is not dearer, "
        f"{model.against[SAME_COST].policy.name}: the policy's accuracy differs by {_gap(row)}."
    )


def _unbeaten(models: list[Smaller]) -> str:
    if not models:
        return ""
    gaps = ", ".join(_gap(model.against[SAME_COST].row) for model in models)
    verb = "are" if len(models) > 1 else "is"
    return (
        f"{_networks(models).capitalize()} {verb} more accurate than every policy tried that is not dearer: "
        f"the best one's accuracy differs by {gaps}."
    )


def _no_policy(models: list[Smaller], found: list[Smaller], ratio: str) -> str:
    if not models:
        return ""
    held = [against for model in found for against in model.against.values()]
    prices = ", ".join(f"{model.row[ratio]:.3f}" for model in models)
    words = f"No policy calibrated here is as cheap as {_networks(models)} ({prices} of the full network's cost)"
    if not held:
        return f"{words}."
    cheapest = min(held, key=lambda against: float(against.row[ratio]))
    return f"{words}; the cheapest one held against any is {cheapest.policy.name} ({cheapest.row[ratio]:.3f})."


def _answer(found: list[Smaller], ratio: str) -> str:
    """Return the advice that follows: for which costs a smaller model is enough.

    Whatever leaves where, a policy costs at least what the cheapest of these networks does, so that this one can hardly
    be beaten: early exit has won where it beats all the others.
    """
    enough = [model for model in found if model.verdict not in (BEATEN, MATCHED)]
    if not enough:
        return "Early exit is the better choice at every cost and accuracy of a smaller model."
    if len(enough) == len(found):
        return "On these data early exit gains nothing over a network that ends at one fixed exit."
    places = ", ".join(f"{model.row[ratio]:.3f} with an accuracy of {model.row['accuracy']:.3f}" for model in enough)
    if enough == [min(found, key=lambda model: float(model.row[ratio]))]:
        return f"So early exit is the better choice unless the least cost that there is, {places}, is enough."
    return f"So a smaller model is enough at a cost of {places}; elsewhere early exit is the better choice."


def _networks(models: list[Smaller]) -> str:
    numbers = [model.exit.removeprefix("exit_") for model in models]
    if len(numbers) == 1:
        return f"the network that ends at exit {numbers[0]}"
    return f"the networks that end at exits {', '.join(numbers[:-1])} and {numbers[-1]}"


def _gap(row: Row) -> str:
    value, low, high = (row[name] for name in DIFFERENCE)
    return f"{value:.4f} ({low:.4f} to {high:.4f})"
