"""Method `overall`: an accuracy of the whole policy at the lowest mean cost, each exit with a threshold of its own."""

from offramp.calibration.choice import Choice
from offramp.calibration.joint import Floats, Ints, Joint, lowest
from offramp.replay import replay


def overall(joint: Joint, target: float) -> Choice:
    """Return the cheapest policy found whose accuracy on these samples is at least `target`.

    It costs no more than the best cutoff that all side exits share at the same target. Infeasible when no policy found
    reaches the target; the thresholds are then those of the most accurate one (the cheapest of those).
    """
    n = len(joint.outcomes)

    def pick(correct: Ints, cost: Floats) -> int:
        meets = correct / n >= target
        return lowest(cost, -correct, meets if meets.any() else correct == correct.max())

    thresholds = joint.search(pick)
    accuracy = replay(joint.outcomes, thresholds, joint.costs).accuracy
    if accuracy >= target:
        return Choice(thresholds)
    reason = (
        f"no policy found reaches an accuracy of {target:g} on validation; the most accurate reaches {accuracy:.4f}"
    )
    return Choice(thresholds, feasible=False, reason=reason, nearest=accuracy)
