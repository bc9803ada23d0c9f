"""INT8 against float32 on the same test rows: what each exit and each selected policy loses by quantisation.

Owns `against_float32` in metrics/evaluation_int8.json. A loss is the accuracy in float32 minus that in INT8, with
Tango's paired interval, 95 %, or one of batches where policies decide for these; below 0, INT8 is the better one.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.evaluation.comparison import joined, loss_row
from offramp.policies.costs import Costs
from offramp.policies.outcomes import Outcomes
from offramp.policies.policy import Policies
from offramp.policies.replay import Replay, costs_under, replay
from offramp.project.errors import InputError

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Replayed:
    """Policies, and the outcomes of the test split under their scoring."""

    policies: Policies
    outcomes: Outcomes

    def selected(self, costs: Costs) -> Replay:
        return replay(self.outcomes, self.policies.selected, costs_under(self.policies.scoring, costs))


def compare_precision(int8: Replayed, float32: Replayed, costs: Costs) -> dict[str, Any]:
    """Return the full network, the selected policies (each with its own thresholds) and every exit, side by side.

    `selected_against_full` is the selected INT8 policy against the full network in float32: all that is given up. An
    exit's accuracy is that of all samples, as if all left there. Raises InputError where the two are of other rows.
    """
    float32 = Replayed(float32.policies, _in_order(float32.outcomes, int8.outcomes))
    ours, theirs = int8.outcomes, float32.outcomes
    exits = {name: paired(ours.correct[:, k], theirs.correct[:, k]) for k, name in enumerate(ours.exits)}
    mine, its = int8.selected(costs), float32.selected(costs)
    names = {"policy": int8.policies.selected.name, "float32_policy": float32.policies.selected.name}
    ratios = {mine.ratio: mine.cost_ratio, f"float32_{its.ratio}": its.cost_ratio}
    selected = names | paired(mine.correct, its.correct, joined(mine.batch, its.batch)) | ratios
    whole = paired(mine.correct, theirs.correct[:, -1], mine.batch)
    return {"full": exits[ours.exits[-1]], "selected": selected, "selected_against_full": whole, "exits": exits}


def paired(int8: Mask, float32: Mask, batch: NDArray[np.intp] | None = None) -> dict[str, Any]:
    """Return both accuracies and the loss, from whether each of the same samples is answered rightly, (samples,).

    `batch` (samples,) numbers the batches that were decided together, if any were.
    """
    row = {"accuracy": float(int8.mean()), "float32_accuracy": float(float32.mean())}
    return row | loss_row(float32, int8, batch)


def describe_comparison(compared: dict[str, Any]) -> str:
    """Return a line each for the full network, the selected policies, and one against the other."""
    lines = []
    for name, row in compared.items():
        if name == "exits":
            continue
        lines.append(
            f"INT8 against float32, {name.replace('_', ' ')}: "
            f"accuracy {row['accuracy']:.4f} and {row['float32_accuracy']:.4f}, "
            f"loss {row['loss']:.4f} ({row['loss_low']:.4f} to {row['loss_high']:.4f})"
        )
    return "\n".join(lines)


def _in_order(outcomes: Outcomes, like: Outcomes) -> Outcomes:
    """Return outcomes in the order of others. Raises InputError where they are not the same samples and labels."""
    mine, its = np.argsort(outcomes.sample), np.argsort(like.sample)
    if outcomes.exits != like.exits or not np.array_equal(outcomes.sample[mine], like.sample[its]):
        raise InputError(
            "data/logits and data/logits_int8 hold other samples or exits; both must be of one test split: "
            "run `dvc repro -P`"
        )
    rows = np.empty_like(mine)
    rows[its] = mine
    return outcomes.take(rows)
