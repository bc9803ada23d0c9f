"""Fixed-sequence testing: a declared order from safe to cheap, up to the first failure; the last rejected is kept.

With the order fixed before the certify rows were looked at, the probability of returning any policy whose hypothesis is
true is at most the level, without dividing it by the number of candidates.

Reference: Angelopoulos et al. (2021), Learn then Test, arXiv:2110.01052, section on fixed-sequence testing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from offramp.policies.policy import Policy


@dataclass(frozen=True)
class Step:
    """One candidate as it was tested: the policy, the counts on the certify rows, their p-value."""

    policy: Policy
    counts: dict[str, int]
    p_value: float


@dataclass(frozen=True)
class TestSequence:
    """The tested candidates in order, up to and including the first failure."""

    steps: list[Step]
    rejected: int  # how many from the start were rejected; 0: nothing can be claimed

    @property
    def last_rejected(self) -> Policy | None:
        """Return the candidate to deploy: not the first failure after it, but the last one that passed."""
        return self.steps[self.rejected - 1].policy if self.rejected else None


def in_sequence(steps: Iterable[Step], level: float) -> TestSequence:
    """Return the steps up to and including the first whose p-value exceeds `level`; later ones are never tested."""
    tested: list[Step] = []
    for step in steps:
        tested.append(step)
        if step.p_value > level:
            return TestSequence(tested, len(tested) - 1)
    return TestSequence(tested, len(tested))
