"""Fixed-sequence testing: walk a declared order from safe to cheap, stop at the first failure, keep the last rejected.

With the order fixed before the certify rows were looked at, the probability of returning any policy whose hypothesis is
true is at most the level, without dividing it by the number of candidates.

Reference: Angelopoulos et al. (2021), Learn then Test, arXiv:2110.01052, section on fixed-sequence testing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from offramp.policies import Thresholds
from offramp.rules import THRESHOLD, Rule


@dataclass(frozen=True)
class Step:
    """One candidate as it was tested: thresholds (exits,) and rule, the counts on the certify rows, their p-value."""

    thresholds: Thresholds
    counts: dict[str, int]
    p_value: float
    rule: Rule = THRESHOLD


@dataclass(frozen=True)
class Walk:
    """The tested candidates in order, up to and including the first failure."""

    steps: list[Step]
    rejected: int  # how many from the start were rejected; 0: nothing can be claimed

    @property
    def last_rejected(self) -> Step | None:
        """Return the candidate to deploy: not the first failure after it, but the last one that passed."""
        return self.steps[self.rejected - 1] if self.rejected else None


def walk(steps: Iterable[Step], level: float) -> Walk:
    """Return how far the fixed order can be walked at this level. `steps` are tested as they are asked for."""
    tested: list[Step] = []
    for step in steps:
        tested.append(step)
        if step.p_value > level:
            return Walk(tested, len(tested) - 1)
    return Walk(tested, len(tested))
