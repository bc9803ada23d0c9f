"""What a comparison of routes works on: tables of tune, other validation and test rows, one set per score.

Caches are read some thousand rows at a time. Activation thresholds, and everything a route is fitted to, come from tune
rows alone; cuts are chosen on the other validation rows; test rows are measured on.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.cache.folds import in_tune
from offramp.cache.reading import UNKNOWN, LogitCache, Rows
from offramp.policies.outcomes import Outcomes, observe
from offramp.policies.routes.observed import ExitScore, Look, Mask
from offramp.project.errors import InputError
from offramp.scores.activation import STATISTICS, Activation, ThresholdSums, peaks
from offramp.scores.registry import Floats
from studies.predictive_exit.sensitivity import centred

Thresholds = dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Fold:
    """How the validation split is dealt; see `offramp.cache.folds`."""

    tune_fraction: float
    fold_seed: int


@dataclass(frozen=True)
class Fitted:
    """Activation thresholds of tune rows by statistic; `centred`: of the same logits less their mean over classes."""

    plain: Thresholds
    centred: Thresholds


@dataclass(frozen=True)
class Scored:
    """One score and its tables. `look_centred` is the same for a network whose logits have mean 0."""

    name: str
    look: Look
    look_centred: Look
    tune: Outcomes
    validation: Outcomes
    test: Outcomes

    @property
    def runs_engine(self) -> bool:
        """Return whether the score is `activation`, which the engine and its relatives need."""
        return isinstance(self.look.score, Activation)


@dataclass(frozen=True)
class Logits:
    """Statistics of the test logits per exit, (exits,) each, and some of the test logits (rows, exits, classes)."""

    mean_abs: Floats
    mean_peak: Floats
    some: NDArray[np.floating]


@dataclass(frozen=True)
class Material:
    """All of it; `exits` are names."""

    exits: list[str]
    n_classes: int
    fitted: Fitted
    scored: list[Scored]
    logits: Logits


def read_material(
    val: LogitCache, test: LogitCache, fold: Fold, looks: Mapping[str, tuple[Look, Look]], fitted: Fitted, some: int
) -> Material:
    """Read both caches into tables of every score; `some` test rows keep their logits.

    `looks` are of the logits as they are and of centred ones. Raises InputError for caches of different networks, for
    unknown labels, and where one of the two folds is empty.
    """
    if (val.exits, val.n_classes) != (test.exits, test.n_classes):
        raise InputError(f"{val.path} and {test.path} differ in exits or classes; they must be of one network")
    tables: dict[str, list[Outcomes]] = {name: [] for name in looks}
    tune: list[Mask] = []
    for rows in labelled(val):
        tune.append(in_tune(rows.sample, fold.tune_fraction, fold.fold_seed))
        _add(tables, looks, rows)
    folds = np.concatenate(tune)
    if folds.all() or not folds.any():
        which = "no other row than those of" if folds.all() else "no row in"
        raise InputError(f"{val.path} has {which} the tune fold; change calibrate.tune_fraction or take more rows")
    held = {name: joined(parts) for name, parts in tables.items()}
    test_tables: dict[str, list[Outcomes]] = {name: [] for name in looks}
    sums, kept = _Sums(len(test.exits)), _Some(some)
    for rows in labelled(test):
        _add(test_tables, looks, rows)
        sums.add(rows.logits)
        kept.add(rows.logits)
    scored = [
        Scored(name, *looks[name], held[name].take(folds), held[name].take(~folds), joined(test_tables[name]))
        for name in looks
    ]
    return Material(test.exits, test.n_classes, fitted, scored, Logits(*sums.means(), kept.logits()))


def fit_thresholds(val: LogitCache, fold: Fold) -> Fitted:
    """Return every statistic's thresholds, of tune rows. Raises InputError where there are none."""
    sums = [ThresholdSums(len(val.exits)) for _ in range(2)]
    for rows in labelled(val):
        tune = in_tune(rows.sample, fold.tune_fraction, fold.fold_seed)
        sums[0].add(rows.logits[tune], rows.label[tune])
        sums[1].add(centred(rows.logits[tune]), rows.label[tune])
    plain, moved = ({name: each.thresholds(name) for name in STATISTICS} for each in sums)
    return Fitted(plain, moved)


def activation_looks(fitted: Fitted, statistics: Sequence[str], horizon: int) -> dict[str, tuple[Look, Look]]:
    """Return the looks of `activation` by `activation_<statistic>`."""
    return {
        f"activation_{name}": (
            Look(Activation(fitted.plain[name], statistic=name), horizon, predictors=True),
            Look(Activation(fitted.centred[name], statistic=name), horizon, predictors=True),
        )
        for name in statistics
    }


def score_looks(score: ExitScore) -> tuple[Look, Look]:
    """Return the looks of a score of probabilities, which is the same for centred logits."""
    look = Look(score, predictors=True)
    return look, look


def labelled(cache: LogitCache) -> Iterator[Rows]:
    """Yield a cache's rows. Raises InputError for a label that is null."""
    for rows in cache.read():
        if (rows.label == UNKNOWN).any():
            raise InputError(f"{cache.path} has null labels; comparing routes needs every row's label")
        yield rows


def _add(tables: dict[str, list[Outcomes]], looks: Mapping[str, tuple[Look, Look]], rows: Rows) -> None:
    for name, (look, _) in looks.items():
        tables[name].append(observe(look, rows.logits, rows.label, rows.sample))


def joined(parts: Sequence[Outcomes]) -> Outcomes:
    """Return the rows of several outcomes, read by one Look in batches of a cache, as one."""
    names = ("sample", "label", "uncertainty", "correct", "agrees", "growth", "predictors")
    columns = {name: [getattr(part, name) for part in parts] for name in names}
    whole: dict[str, Any] = {name: np.concatenate(column) for name, column in columns.items() if column[0] is not None}
    return replace(parts[0], **whole)


class _Sums:
    """Means of |z| and of the largest |z| per exit, over batches of rows."""

    def __init__(self, n_exits: int) -> None:
        self._rows = 0
        self._abs, self._peak = np.zeros(n_exits), np.zeros(n_exits)

    def add(self, logits: NDArray[np.floating]) -> None:
        z = logits.astype(np.float64)
        self._rows += len(z)
        self._abs += np.abs(z).mean(axis=2).sum(axis=0)
        self._peak += peaks(z).sum(axis=0)

    def means(self) -> tuple[Floats, Floats]:
        return self._abs / self._rows, self._peak / self._rows


class _Some:
    """The first rows of a cache, in whatever batches they come."""

    def __init__(self, number: int) -> None:
        self._number, self._parts = number, list[NDArray[np.floating]]()

    def add(self, logits: NDArray[np.floating]) -> None:
        self._parts.append(logits[: max(0, self._number - sum(map(len, self._parts)))])

    def logits(self) -> NDArray[np.floating]:
        return np.concatenate(self._parts)
