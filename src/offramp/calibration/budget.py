"""Method `budget`: the highest accuracy at a mean cost, each exit with a threshold of its own."""

from offramp.calibration.choice import Choice
from offramp.calibration.joint import Floats, Ints, Joint, lowest
from offramp.replay import replay


def budget(joint: Joint, target: float) -> Choice:
    """Return the most accurate policy found whose mean cost on these samples is at most `target` of the full network's.

    Infeasible when the cheapest policy of all costs more; its thresholds are then returned.
    """
    n = len(joint.outcomes)

    def pick(correct: Ints, cost: Floats) -> int:
        affordable = cost / n / joint.costs.full <= target
        return lowest(-correct, cost, affordable) if affordable.any() else lowest(cost, -correct)

    thresholds = joint.search(pick)
    ratio = replay(joint.outcomes, thresholds, joint.costs).cost_ratio
    if ratio <= target:
        return Choice(thresholds)
    spends = (
        f"takes {ratio:.4f} {joint.costs.of_full}" if joint.costs.measured else f"costs {ratio:.4f} of the full network"
    )
    reason = f"the cheapest policy {spends}; the budget is {target:g}"
    return Choice(thresholds, feasible=False, reason=reason, nearest=ratio)
