"""What one exit shows of a sample, and the same of a whole cache: all that decides where a sample looks next.

`Look.at` turns logits of one exit into `Seen`, for the runtime; `Look.table` does the same for all exits of a cache, by
the same code, and keeps it. No cut, start or policy is in it: a table is made once and every one of them replayed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from offramp.leaving import leaves
from offramp.predictive.activation import Activation
from offramp.predictive.engine import growth, powers
from offramp.predictive.features import predictors
from offramp.scoring import Scoring, rounded
from offramp.uncertainty import Floats

Ints = NDArray[np.intp]
Mask = NDArray[np.bool_]


class Score(Protocol):
    """Uncertainties (samples,) at exit `k`, from 0, of its logits (samples, classes); low = confident."""

    def at_exit(self, k: int, logits: Floats) -> Floats: ...


@dataclass(frozen=True)
class OneExit:
    """One of our scores as a `Score`. Raises ValueError for score `change`, which needs every earlier head."""

    scoring: Scoring

    def __post_init__(self) -> None:
        if self.scoring.change is not None:
            raise ValueError("score 'change' compares an exit with all before it; no head could be skipped")

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
class Table:
    """What every side exit shows of every sample of a cache: (samples, side exits, …), without the final classifier."""

    sample: NDArray[np.int64]  # (samples,)
    uncertainty: Floats
    correct: Mask  # (samples, exits), the final classifier's last
    n_classes: int
    powers: Floats | None = None  # (…, rounds + 1)
    growth: Floats | None = None  # (…, rounds)
    predictors: Floats | None = None

    def __len__(self) -> int:
        return len(self.sample)

    @property
    def n_exits(self) -> int:
        return self.correct.shape[1]

    @property
    def last(self) -> int:
        return self.n_exits - 1

    def fires(self, cut: float) -> Mask:
        """Return where a sample would leave if the exit were looked at, (samples, exits); always at the last."""
        found = np.ones(self.correct.shape, np.bool_)
        found[:, :-1] = leaves(self.uncertainty, cut)
        return found

    def at(self, exit_number: int, rows: Ints) -> Seen:
        """Return what `Look.at` returns for these rows at a side exit."""
        grown, seen = (None if part is None else part[rows, exit_number] for part in (self.growth, self.predictors))
        return Seen(exit_number, self.last, self.uncertainty[rows, exit_number], grown, seen, self.sample[rows])

    def take(self, rows: Mask | Ints) -> Self:
        """Return these rows, by mask or position."""
        kept = (None if part is None else part[rows] for part in (self.powers, self.growth, self.predictors))
        return type(self)(self.sample[rows], self.uncertainty[rows], self.correct[rows], self.n_classes, *kept)

    def showing(self, names: Sequence[str]) -> Self:
        """Return the table with these alone of growth and predictors; every step of a walk copies what is there."""
        grown, seen = (getattr(self, name) if name in names else None for name in ("growth", "predictors"))
        return replace(self, growth=grown, predictors=seen)

    def rescaled(self, score: Activation) -> Self:
        """Return the table under other activation thresholds, from the same `powers`; without `predictors`."""
        if self.powers is None:
            raise ValueError("the table holds no powers of the engine; make it by a Look with a horizon")
        sides = range(self.last)
        found = [rounded(score.of_peaks(k, self.powers[:, k, 0])) for k in sides]
        grown = [growth(self.powers[:, k], score.thresholds, k) for k in sides]
        return replace(self, uncertainty=np.stack(found, axis=1), growth=np.stack(grown, axis=1), predictors=None)


@dataclass(frozen=True)
class Look:
    """Which numbers are made of logits. A `horizon` above 0 runs the engine, which needs score `activation`."""

    score: Score
    horizon: int = 0
    predictors: bool = False

    def __post_init__(self) -> None:
        if self.horizon and not isinstance(self.score, Activation):
            raise ValueError("the engine compares activations: its score must be 'activation'; take a learned forecast")

    def at(self, exit_number: int, last: int, logits: NDArray[Any], key: NDArray[np.int64] | None = None) -> Seen:
        """Return what exit `exit_number`, from 0, shows of logits (samples, classes); `last` is the final one."""
        z = logits.astype(np.float64)
        return self._seen(exit_number, last, z, powers(z, self.horizon) if self.horizon else None, key)

    def table(self, logits: NDArray[Any], label: NDArray[np.int64], sample: NDArray[np.int64]) -> Table:
        """Return the table of logits (samples, exits, classes); an exit is never right where the label is negative."""
        last = logits.shape[1] - 1
        z = logits.astype(np.float64)
        grown = powers(z[:, :-1], self.horizon) if self.horizon else None
        seen = [self._seen(k, last, z[:, k], None if grown is None else grown[:, k], None) for k in range(last)]
        return Table(
            sample,
            np.stack([each.uncertainty for each in seen], axis=1),
            z.argmax(axis=2) == label[:, None],
            z.shape[2],
            grown,
            _stacked([each.growth for each in seen]),
            _stacked([each.predictors for each in seen]),
        )

    def _seen(self, k: int, last: int, z: Floats, grown: Floats | None, key: NDArray[np.int64] | None) -> Seen:
        uncertainty = rounded(self.score.at_exit(k, z))
        ratios = None
        if grown is not None:
            assert isinstance(self.score, Activation), "checked when the Look was made"
            ratios = growth(grown, self.score.thresholds, k)
        seen = predictors(z, uncertainty) if self.predictors else None
        return Seen(k, last, uncertainty, ratios, seen, key)


def joined(tables: Sequence[Table]) -> Table:
    """Return the rows of several tables, made by one Look of batches of a cache, as one."""
    first = tables[0]
    parts = (_joined([table.powers for table in tables]), _joined([table.growth for table in tables]))
    return Table(
        np.concatenate([table.sample for table in tables]),
        np.concatenate([table.uncertainty for table in tables]),
        np.concatenate([table.correct for table in tables]),
        first.n_classes,
        *parts,
        _joined([table.predictors for table in tables]),
    )


def _stacked(parts: Sequence[Floats | None]) -> Floats | None:
    held = [part for part in parts if part is not None]
    return np.stack(held, axis=1) if held else None


def _joined(parts: Sequence[Floats | None]) -> Floats | None:
    held = [part for part in parts if part is not None]
    return np.concatenate(held) if held else None
