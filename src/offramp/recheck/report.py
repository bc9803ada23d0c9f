"""What a check found: a line per policy, in words, and whether everything held."""

from collections.abc import Sequence
from dataclasses import dataclass, field

FIRST_REASONS = 3  # of a refuted policy that its line gives; the findings have them all


@dataclass(frozen=True)
class Finding:
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
        reasons = self.refuted
        if not reasons:
            return f"{self.policy}: confirmed, {self.note}"
        more = f" (and {len(reasons) - FIRST_REASONS} more)" if len(reasons) > FIRST_REASONS else ""
        return f"{self.policy}: REFUTED: {'; '.join(reasons[:FIRST_REASONS])}{more}"


@dataclass(frozen=True)
class Report:
    """The verdicts on a file, in its order, and remarks that refute nothing. `passed`: nothing was refuted."""

    verdicts: Sequence[Verdict]
    remarks: Sequence[str] = field(default=())

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
    contradicted: bool = False

    @property
    def passed(self) -> bool:
        return not self.contradicted


def same(given: float, expected: float, relative: float = 1e-6) -> bool:
    """Return whether two numbers are equal up to rounding; infinity only equals itself."""
    return given == expected or abs(given - expected) <= relative * max(abs(given), abs(expected))
