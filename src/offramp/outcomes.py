"""What remains of a logit cache once a score is chosen: one float and one bit per sample and exit.

Policies, calibration and replay see only this; 10^8 samples of a 6-exit network fit in memory. A route that forecasts
sees more of each exit; that is read only where a policy needs it.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from offramp.cache.reading import UNKNOWN, LogitCache
from offramp.errors import InputError
from offramp.predictive.evidence import Look, Table, joined
from offramp.scoring import Scoring


@dataclass(frozen=True)
class Outcomes:
    """Every exit's uncertainty, whether its answer is right and whether it is the full network's, (samples, exits).

    Labels and ids are (samples,).
    """

    sample: NDArray[np.int64]
    label: NDArray[np.int64]
    uncertainty: NDArray[np.float64]
    correct: NDArray[np.bool_]
    agrees: NDArray[np.bool_]  # the answer is the last exit's: whatever the label, leaving here loses nothing
    exits: list[str]
    class_names: list[str]
    growth: NDArray[np.float64] | None = None  # (samples, side exits, rounds), the engine's
    predictors: NDArray[np.float64] | None = None  # (samples, side exits, predictors), the learned forecast's

    def __len__(self) -> int:
        return len(self.sample)

    @property
    def n_exits(self) -> int:
        return len(self.exits)

    @property
    def labelled(self) -> NDArray[np.bool_]:
        return self.label != UNKNOWN

    def take(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Self:
        """Return these rows, by mask or position."""
        parts = (self.sample[rows], self.label[rows], self.uncertainty[rows], self.correct[rows], self.agrees[rows])
        seen = (None if part is None else part[rows] for part in (self.growth, self.predictors))
        return type(self)(*parts, self.exits, self.class_names, *seen)

    @property
    def table(self) -> Table:
        """Return what a route walks, as far as it was read; a view."""
        seen = (self.growth, self.predictors)
        return Table(self.sample, self.uncertainty[:, :-1], self.correct, len(self.class_names), None, *seen)


def read_outcomes(
    cache: LogitCache, scoring: Scoring, labels_required: bool = True, look: Look | None = None
) -> Outcomes:
    """Stream a cache into outcomes, with what `look` sees of every side exit (`predictive.rules.joint_look`).

    The answer of an exit is its largest logit, the first one of equals; it is never right where the label is UNKNOWN.
    Raises InputError for a scoring of other sizes, a sample that stands twice and, if `labels_required`, for unknown
    labels, besides what reading refuses.
    """
    _require_fit(cache, scoring)
    sample = np.empty(cache.n_rows, np.int64)
    label = np.empty(cache.n_rows, np.int64)
    values = np.empty((cache.n_rows, len(cache.exits)))
    correct = np.empty((cache.n_rows, len(cache.exits)), np.bool_)
    agrees = np.empty_like(correct)
    seen: list[Table] = []
    end = 0
    for rows in cache.read():
        start, end = end, end + len(rows.sample)
        sample[start:end], label[start:end] = rows.sample, rows.label
        values[start:end] = scoring(rows.logits)
        answers = rows.logits.argmax(axis=2)
        correct[start:end] = answers == rows.label[:, None]
        agrees[start:end] = answers == answers[:, -1:]
        if look is not None and len(cache.exits) > 1:
            seen.append(replace(look.table(rows.logits, rows.label, rows.sample), powers=None))
    more = joined(seen) if seen else None
    parts = (None, None) if more is None else (more.growth, more.predictors)
    outcomes = Outcomes(sample, label, values, correct, agrees, cache.exits, cache.class_names, *parts)
    if labels_required:
        require_labels(outcomes, str(cache.path))
    _require_unique(cache, sample)
    return outcomes


def require_every_class(outcomes: Outcomes, where: str) -> None:
    """Raise InputError when a class has no sample: thresholds would be chosen without ever having seen it."""
    absent = sorted(set(range(len(outcomes.class_names))) - set(np.unique(outcomes.label).tolist()))
    if absent:
        names = ", ".join(repr(outcomes.class_names[number]) for number in absent[:5])
        raise InputError(
            f"{where} has no sample of class {names}{', …' if len(absent) > 5 else ''}: {len(absent)} of "
            f"{len(outcomes.class_names)} classes are absent; calibration needs at least one sample of each, "
            "so take more validation rows or write fewer classes"
        )


def require_labels(outcomes: Outcomes, where: str) -> None:
    """Raise InputError, with their number, when labels are null."""
    missing = np.flatnonzero(~outcomes.labelled)
    if len(missing):
        raise InputError(
            f"{where}: {len(missing)} of {len(outcomes)} labels are null, the first at row {missing[0]}; "
            "every row needs its label here"
        )


def _require_fit(cache: LogitCache, scoring: Scoring) -> None:
    if cache.exits != scoring.exits:
        raise InputError(f"{cache.path} has {len(cache.exits)} exits, the policies are for {len(scoring.exits)}")
    if scoring.change is not None and not scoring.change.fits(len(cache.exits), cache.n_classes):
        raise InputError(
            f"{cache.path} has {cache.n_classes} classes; the score 'change' was fitted for another number of them"
        )


def _require_unique(cache: LogitCache, sample: NDArray[np.int64]) -> None:
    order = np.argsort(sample, kind="stable")
    twice = np.flatnonzero(sample[order][1:] == sample[order][:-1])
    if len(twice):
        first, second = order[twice[0]], order[twice[0] + 1]
        raise InputError(
            f"{cache.path}: column 'sample' holds {sample[first]} at rows {first} and {second}; "
            f"ids must be unique ({len(twice)} repeats)"
        )
