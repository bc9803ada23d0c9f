"""Inputs of a routing decision, per exit.

`Look.at` turns logits of one exit into `Seen`, for the runtime; `Look.every_exit` does the same for all exits of a
cache, by the same code, and `policies.outcomes` keeps it. No cut, start or policy is in it.
"""

from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from offramp.policies.routes.smoothing import growth, powers
from offramp.scores.activation import Activation
from offramp.scores.registry import Floats
from offramp.scores.scoring import Scoring, rounded
from offramp.scores.softmax import entropy, least_confidence

Ints = NDArray[np.intp]
Mask = NDArray[np.bool_]


class ExitScore(Protocol):
    """Uncertainties (samples,) at exit `k`, from 0, of its logits (samples, classes); low = confident."""

    def at_exit(self, k: int, logits: Floats) -> Floats: ...


@dataclass(frozen=True)
class OneExit:
    """A scoring as an `ExitScore`. Raises ValueError for a score that needs every earlier head."""

    scoring: Scoring

    def __post_init__(self) -> None:
        if self.scoring.compares_exits:
            raise ValueError(
                f"score {self.scoring.score!r} compares an exit with all before it; no head could be skipped"
            )

    def at_exit(self, k: int, logits: Floats) -> Floats:
        return self.scoring.at_exit(k, logits[:, None])


@dataclass(frozen=True)
class Seen:
    """What exit `exit`, from 0, shows of some samples; `last` is the final classifier's number."""

    exit: int
    last: int
    uncertainty: Floats  # (samples,)
    growth: Floats | None = None  # (samples, rounds), the engine's
    predictors: Floats | None = None  # (samples, predictors), the learned forecast's
    key: NDArray[np.int64] | None = None  # (samples,), any number that names a sample; random jumps depend on it

    def __len__(self) -> int:
        return len(self.uncertainty)

    def take(self, rows: Ints) -> Self:
        grown, seen = (None if part is None else part[rows] for part in (self.growth, self.predictors))
        key = None if self.key is None else self.key[rows]
        return type(self)(self.exit, self.last, self.uncertainty[rows], grown, seen, key)


@dataclass(frozen=True)
class Look:
    """Which numbers are made of logits. A `horizon` above 0 runs the engine, which needs score `activation`."""

    score: ExitScore
    horizon: int = 0
    predictors: bool = False

    def __post_init__(self) -> None:
        if self.horizon and not isinstance(self.score, Activation):
            raise ValueError("the engine compares activations: its score must be 'activation'; take a learned forecast")

    def at(self, exit_number: int, last: int, logits: NDArray[Any], key: NDArray[np.int64] | None = None) -> Seen:
        """Return what exit `exit_number`, from 0, shows of logits (samples, classes); `last` is the final one."""
        z = logits.astype(np.float64)
        return self._seen(exit_number, last, z, powers(z, self.horizon) if self.horizon else None, key)

    def every_exit(self, logits: NDArray[Any]) -> list[Seen]:
        """Return what each side exit shows of logits (samples, exits, classes), the final classifier's last."""
        last = logits.shape[1] - 1
        z = logits.astype(np.float64)
        grown = powers(z[:, :-1], self.horizon) if self.horizon else None
        return [self._seen(k, last, z[:, k], None if grown is None else grown[:, k], None) for k in range(last)]

    def _seen(self, k: int, last: int, z: Floats, grown: Floats | None, key: NDArray[np.int64] | None) -> Seen:
        uncertainty = rounded(self.score.at_exit(k, z))
        ratios = None
        if grown is not None:
            assert isinstance(self.score, Activation), "checked when the Look was made"
            ratios = growth(grown, self.score.thresholds, k)
        seen = route_features(z, uncertainty) if self.predictors else None
        return Seen(k, last, uncertainty, ratios, seen, key)


TOP = 3


def route_features(logits: Floats, uncertainty: Floats) -> Floats:
    """Return predictors (samples, …) of logits (samples, classes) and the exit rule's own uncertainty (samples,).

    The largest TOP log-probabilities, descending, log-odds that the answer is not it, entropy, and the uncertainty.
    Computed from sorted logits: a permutation of the classes changes no bit. All but the uncertainty depend on
    probabilities alone; it does where the score does, and is here because it is what the rule will compare next.
    """
    ordered = np.sort(logits, axis=1)[:, ::-1]
    top = log_softmax(ordered, axis=1)[:, :TOP]
    columns = [top, least_confidence(ordered)[:, None], entropy(ordered)[:, None], uncertainty[:, None]]
    return rounded(np.concatenate(columns, axis=1))


def n_route_features(n_classes: int) -> int:
    return min(TOP, n_classes) + 3
