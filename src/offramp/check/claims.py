"""What a certificate of each method claims, in the words it must use, and the counts and p-value that bear on it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.check.p_values import ABOVE, BELOW, binomial_p_value, paired_p_value
from offramp.policies.outcomes import Outcomes
from offramp.policies.policy import Policy
from offramp.policies.replay import exits_of

GAMMA = {"score": 1e-4, "difference": 1e-3}  # of the paired test, unless a hundredth of the level is less
PAIRED, OVERALL, PER_EXIT = "certified", "certified_overall", "certified_per_exit"
CERTIFIED_ROUTES = {
    f"certified_{name}": name for name in ("every_exit", "placed", "predictive", "single_jump", "learned")
}
METHODS = (PAIRED, OVERALL, PER_EXIT, *CERTIFIED_ROUTES)
WORDS = {  # statement, hypothesis, test
    PAIRED: (
        "the accuracy lost against the full network is at most {target:g}",
        "E[full network right - policy right] >= {target:g}",
        "exact paired test, tables ordered by {order}, Berger-Boos gamma {gamma:g}",
    ),
    OVERALL: ("the accuracy is at least {target:g}", "accuracy <= {target:g}", "exact binomial"),
    PER_EXIT: (
        "at every enabled side exit, the accuracy of those who leave there is at least {target:g}",
        "at some enabled side exit, accuracy <= {target:g}",
        "intersection-union of exact binomials, one per enabled side exit",
    ),
}


@dataclass(frozen=True)
class Claim:
    """What is claimed (PAIRED, OVERALL or PER_EXIT) with a target, tested at a level; `order` is the paired test's."""

    kind: str
    target: float
    level: float
    order: str = "score"

    @property
    def gamma(self) -> float:
        return min(GAMMA[self.order], self.level / 100)

    def says(self) -> dict[str, str]:
        """Return the words of a certificate by their keys."""
        words = [text.format(target=self.target, order=self.order, gamma=self.gamma) for text in WORDS[self.kind]]
        chance = f"with probability at least {1 - self.level:.6g} over the draw of the certify rows, "
        return {"statement": chance + words[0], "hypothesis": words[1], "test": words[2]}

    def labels_needed(self, rows: Outcomes, policy: Policy) -> NDArray[np.bool_]:
        """Return which rows (samples,) the test of a policy needs a label of."""
        taken = exits_of(rows, policy)
        if self.kind == PAIRED:
            return ~rows.agrees[np.arange(len(rows)), taken]
        return taken < rows.n_exits - 1 if self.kind == PER_EXIT else np.ones(len(rows), np.bool_)

    def counts(self, rows: Outcomes, policy: Policy) -> dict[str, int]:
        """Return what the test of a policy counts, under the names a certificate gives it."""
        taken = exits_of(rows, policy)
        right = rows.correct[np.arange(len(rows)), taken]
        if self.kind == OVERALL:
            return {"correct": int(right.sum())}
        if self.kind == PER_EXIT:
            counts = {}
            for k, threshold in enumerate(policy.thresholds[:-1]):
                if threshold is not None:
                    counts[f"samples_exit_{k + 1}"] = int((taken == k).sum())
                    counts[f"correct_exit_{k + 1}"] = int(right[taken == k].sum())
            return counts
        unlabelled = int((self.labels_needed(rows, policy) & ~rows.labelled).sum())
        if unlabelled:
            return {"unlabelled": unlabelled}
        full = rows.correct[:, -1]
        return {"damaged": int((full & ~right).sum()), "rescued": int((right & ~full).sum())}

    def p_value(self, n: int, counts: Mapping[str, int]) -> float:
        """Return the p-value of "the claim is false" for counts on n rows: the largest one of several exits'."""
        if self.kind == PAIRED:
            if "unlabelled" in counts:
                return 1.0
            return paired_p_value(n, counts["damaged"], counts["rescued"], self.target, self.order, self.gamma)
        if self.kind == OVERALL:
            return binomial_p_value(counts["correct"], n, self.target)
        exits = exit_counts(counts)
        return max((binomial_p_value(correct, samples, self.target) for samples, correct in exits), default=1.0)

    def agrees(self, stated: float, own: float) -> bool:
        """Return whether a stated p-value is right: for binomials up to rounding, for paired tests as documented."""
        if self.kind == PAIRED and own < 1:
            return own - BELOW <= stated <= own + ABOVE  # the paired test's may be a bound, a little above the grid's
        return abs(stated - own) <= 1e-9 + 1e-6 * own


def claim_of(policy: Policy, level: float, test: str) -> Claim:
    """Return what a policy of a certifying method claims: a route the same as `certified`; `test` names the order."""
    named = re.match(r"exact paired test, tables ordered by (score|difference),", test)
    kind = PAIRED if policy.method in CERTIFIED_ROUTES else policy.method
    return Claim(kind, policy.target, level, named[1] if named else "score")


def exit_counts(counts: Mapping[str, int]) -> list[tuple[int, int]]:
    """Return samples and right answers of every enabled side exit."""
    return [(counts[key], counts[key.replace("samples", "correct")]) for key in counts if key.startswith("samples")]


def several(looks: int, delta: float, simultaneous: bool) -> str:
    """Return what a certificate must say about choosing among several from the same rows."""
    if looks == 1:
        return "the only certificate from these rows"
    if simultaneous:
        return f"all {looks} certificates from these rows hold together with probability at least {1 - delta:.6g}"
    return (
        f"one of {looks} from the same rows, each holding alone; all together with probability at least "
        f"{max(0.0, 1 - looks * delta):.6g} (calibrate.simultaneous: true splits delta over them)"
    )
