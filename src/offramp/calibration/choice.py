"""What a calibrator returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from offramp.policies import Thresholds
from offramp.rules import THRESHOLD, Rule


@dataclass(frozen=True)
class Choice:
    """Thresholds (exits,) and their rule for a target; where it cannot be met, those of the nearest policy, and why.

    `certificate` is the proof of a certified choice, `expectation` what conformal risk control promises, and
    `labels_needed` about how many validation rows would certify what these could not.
    """

    thresholds: Thresholds
    feasible: bool = True
    reason: str = ""
    nearest: float | None = None
    certificate: Mapping[str, Any] | None = None
    expectation: Mapping[str, Any] | None = None
    labels_needed: int | None = None
    rule: Rule = THRESHOLD
