"""What a check found: a line per policy, in words, and whether everything held."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

FIRST_REASONS = 3  # of a refuted policy that its line gives; the findings have them all


class Finding(NamedTuple):
    """One thing that was confirmed or refuted, with the numbers given and expected."""

    confirmed: bool
    text: str


@dataclass(frozen=True)
class Verdict:
    """What was found about one policy; without findings there was nothing to confirm, and `note` says why."""

    policy: str
    findings: Sequence[Finding] = ()
    note: str = ""

    @property
    def refuted(self) -> list[str]:
        return [finding.text for finding in self.findings if not finding.confirmed]

    @property
    def line(self) -> str:
        if not self.findings:
            return f"{self.policy}: nothing to confirm, {self.note}"
        if not (reasons := self.refuted):
            return f"{self.policy}: confirmed, {self.note}"
        more = f" (and {len(reasons) - FIRST_REASONS} more)" if len(reasons) > FIRST_REASONS else ""
        return f"{self.policy}: REFUTED: {'; '.join(reasons[:FIRST_REASONS])}{more}"


@dataclass(frozen=True)
class Report:
    """The verdicts on a file, in its order, and remarks that refute nothing. `passed`: nothing was refuted."""

    verdicts: Sequence[Verdict]
    remarks: Sequence[str] = ()

    @property
    def passed(self) -> bool:
        return not any(verdict.refuted for verdict in self.verdicts)

    @property
    def text(self) -> str:
        return "\n".join([*(verdict.line for verdict in self.verdicts), *self.remarks])


@dataclass(frozen=True)
class FreshReport:
    """What rows never used say about the selected policy. `passed`: they do not contradict its claim."""

    policy: str
    n: int
    loss: float
    text: str
    p_value: float | None = None  # of "the claim is false"; None: it makes no claim
    passed: bool = True


def same(given: float, expected: float, relative: float = 1e-6) -> bool:
    """Return whether two numbers are equal up to rounding; infinity only equals itself."""
    return math.isclose(given, expected, rel_tol=relative)
