"""Policies in words, a line each: what `calibrate` and `check` print."""

import math

from offramp.policies.costs import Costs
from offramp.policies.policy import Policies, Policy
from offramp.scores.scoring import Scoring


def describe(content: Policies) -> str:
    """Return a line per policy, infeasible ones with their reason, the selected one marked."""
    width = max(len(policy.name) for policy in content.policies)
    lines = []
    for policy in content.policies:
        mark = "*" if policy is content.selected else " "
        figures = _figures(policy, content.costs) + _betas(policy, content.scoring)
        lines.append(f"{mark} {policy.name:<{width}}  {figures}{_promise(policy)}")
    lines.append("* selected" + ("" if content.selected.feasible else ", although it is infeasible"))
    return "\n".join(lines)


def _figures(policy: Policy, costs: Costs | None) -> str:
    """Return rule and in-sample figures in words; a foreign file, or one without every label, may lack figures."""
    validation, rule = policy.validation, f", {policy.rule.words}" if policy.rule.words else ""
    ratio, words = ("mac_ratio", "of the full cost") if costs is None else (costs.ratio, costs.of_full)
    if ratio not in validation:
        return f"without validation figures{rule}"
    accuracy = f"accuracy {validation['accuracy']:.4f}" if "accuracy" in validation else "accuracy unknown"
    return f"{accuracy}, {validation[ratio]:.3f} {words} on validation{rule}"


def beta(policy: Policy, scoring: Scoring) -> float | None:
    """Return the β of a policy: under score `activation`, minus the finite threshold that all enabled side exits share.

    None under other scores, where thresholds differ, and where none is finite. A threshold above 0 lets everyone go, as
    β = 0 does.
    """
    cuts = {threshold for threshold in policy.thresholds[:-1] if threshold is not None}
    if scoring.activation is None or len(cuts) != 1 or not math.isfinite(min(cuts)):
        return None
    return max(0.0, -min(cuts))


def _betas(policy: Policy, scoring: Scoring) -> str:
    """Return β in words, of all exits or as a range; nothing under a score that has none."""
    own = beta(policy, scoring)
    if own is not None:
        return f", β {own:.4g}"
    cuts = [-t for t in policy.thresholds[:-1] if t is not None and math.isfinite(t)]
    return f", β {min(cuts):.4g} to {max(cuts):.4g}" if scoring.activation is not None and cuts else ""


def _promise(policy: Policy) -> str:
    """Return what is proved or expected of a policy, or why its target cannot be met."""
    if not policy.feasible:
        needed = "" if policy.labels_needed is None else f" (about {policy.labels_needed} validation labels would do)"
        return f"  INFEASIBLE: {policy.reason}{needed}"
    if policy.certificate is not None:
        about = policy.certificate
        text = f"  certified: step {about.returned} of {about.declared}, {about.labels_used} labels"
        stopped = "unlabelled" in about.steps[-1].counts
        return text + ("; the walk stopped for want of labels, see `offramp labels`" if stopped else "")
    return "" if policy.expectation is None else "  in expectation"
