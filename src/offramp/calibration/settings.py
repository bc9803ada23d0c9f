"""What a calibration is asked for: the sections `uncertainty` and `calibrate` of params.yaml as plain values."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RouteSettings:
    """How routes that skip heads are calibrated; `start`, from 0, is chosen with the cut where it is None."""

    start: int | None = None
    horizon: int = 8
    clamp: bool = True
    placement: float = 0.5
    jump: int = 2
    cuts: int = 100


@dataclass(frozen=True)
class Settings:
    """Pairs of method and target `wanted`, the one `selected`, and how folds are dealt and certificates made.

    Defaults are those of params.yaml, where each is explained.
    """

    wanted: list[tuple[str, float]]
    selected: tuple[str, float]
    score: str = "entropy"
    temperature: str = "none"
    statistic: str = "mean_max"
    delta: float = 0.1
    tune_fraction: float = 0.2
    fold_seed: int = 17
    family: str = "equal_change"
    test: str = "score"
    simultaneous: bool = False
    conformal: str = "mean"
    batch_size: int = 64
    batch_reduce: str = "max"
    predictive: RouteSettings = RouteSettings()
