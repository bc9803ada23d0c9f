"""metrics/summary.json: the few numbers of an evaluation that a person reviews, the DVC metrics of results."""

from typing import Any

from offramp.policies.outcomes import Outcomes
from offramp.policies.policy import Policies

DEPLOYED = ("accuracy", "loss", "loss_low", "loss_high", "certified_loss", "mac_ratio", "speedup")
POLICY = ("accuracy", "mac_ratio")


def summarise(content: Policies, evaluation: dict[str, Any], outcomes: Outcomes) -> dict[str, Any]:
    """Return the summary of an evaluation on the test split, `outcomes`.

    It holds the full network; the deployed policy with its loss, the interval of that, and the certified loss where
    there is one; accuracy and cost of every method and target; each exit's accuracy over all samples. Where costs are
    times, `mac_ratio` is left out.
    """
    deployed = evaluation[content.selected.method][f"{content.selected.target:g}"]
    policies = {
        method: {target: _of(entry, POLICY) for target, entry in entries.items()}
        for method, entries in evaluation.items()
        if method != "full"
    }
    accuracy = outcomes.correct.mean(axis=0).tolist()
    return {
        "full": evaluation["full"],
        "deployed": _of(deployed, DEPLOYED),
        "policies": policies,
        "exits": {name: {"accuracy": value} for name, value in zip(outcomes.exits, accuracy, strict=True)},
    }


def _of(entry: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: entry[key] for key in keys if key in entry}
