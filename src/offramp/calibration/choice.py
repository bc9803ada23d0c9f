"""What a calibrator returns."""

from dataclasses import dataclass

from offramp.policies import Threshold


@dataclass(frozen=True)
class Choice:
    """Thresholds (exits,) for a target; where it cannot be met, those of the nearest reachable policy, and why."""

    thresholds: tuple[Threshold, ...]
    feasible: bool = True
    reason: str = ""
    nearest: float | None = None
