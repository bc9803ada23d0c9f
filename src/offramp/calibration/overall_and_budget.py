"""Method `overall`: an accuracy of the whole policy at the lowest mean cost, each exit with a threshold of its own."""

from dataclasses import replace

from offramp.calibration.joint_search import Floats, Ints, Joint, lowest
from offramp.policies.policy import Policy
from offramp.policies.replay import replay


def overall(joint: Joint, target: float) -> Policy:
    """Return the cheapest policy found whose accuracy on these samples is at least `target`.

    It costs no more than the best cutoff that all side exits share at the same target. Infeasible when no policy found
    reaches the target; the thresholds are then those of the most accurate one (the cheapest of those).
    """
    n = len(joint.outcomes)

    def pick(correct: Ints, cost: Floats) -> int:
        meets = correct / n >= target
        return lowest(cost, -correct, meets if meets.any() else correct == correct.max())

    policy = Policy(joint.search(pick))
    accuracy = replay(joint.outcomes, policy, joint.costs).accuracy
    if accuracy >= target:
        return policy
    reason = (
        f"no policy found reaches an accuracy of {target:g} on validation; the most accurate reaches {accuracy:.4f}"
    )
    return replace(policy, feasible=False, reason=reason, nearest=accuracy)


def budget(joint: Joint, target: float) -> Policy:
    """Return the most accurate policy found whose mean cost on these samples is at most `target` of the full network's.

    Infeasible when the cheapest policy of all costs more; its thresholds are then returned.
    """
    n = len(joint.outcomes)

    def pick(correct: Ints, cost: Floats) -> int:
        affordable = cost / n / joint.costs.full <= target
        return lowest(-correct, cost, affordable) if affordable.any() else lowest(cost, -correct)

    policy = Policy(joint.search(pick))
    ratio = replay(joint.outcomes, policy, joint.costs).cost_ratio
    if ratio <= target:
        return policy
    spends = (
        f"takes {ratio:.4f} {joint.costs.of_full}" if joint.costs.measured else f"costs {ratio:.4f} of the full network"
    )
    reason = f"the cheapest policy {spends}; the budget is {target:g}"
    return replace(policy, feasible=False, reason=reason, nearest=ratio)
