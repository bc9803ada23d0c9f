"""What remains of a logit cache once a score is chosen: one float and one bit per sample and exit.

Policies, calibration and replay see only this; 10^8 samples of a 6-exit network fit in memory. A route that forecasts
sees more of each exit; that is read only where a policy needs it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from offramp.cache.reading import UNKNOWN, LogitCache
from offramp.policies.routes.observed import Look, Seen
from offramp.policies.rules import leaves
from offramp.project.errors import InputError
from offramp.scores.scoring import Scoring

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Outcomes:
    """Every exit's uncertainty, whether its answer is right and whether it is the full network's, (samples, exits).

    Labels and ids are (samples,). What a forecasting route sees besides, of side exits, is there where it was read.
    """

    sample: NDArray[np.int64]
    label: NDArray[np.int64]
    uncertainty: Floats
    correct: Mask
    agrees: Mask  # the answer is the last exit's: whatever the label, leaving here loses nothing
    exits: list[str]
    class_names: list[str]
    growth: Floats | None = None  # (samples, side exits, rounds), of the smoothing forecast
    predictors: Floats | None = None  # (samples, side exits, predictors), of the learned forecast

    def __len__(self) -> int:
        return len(self.sample)

    @property
    def n_exits(self) -> int:
        return len(self.exits)

    @property
    def n_classes(self) -> int:
        return len(self.class_names)

    @property
    def last(self) -> int:
        """Return the number of the last exit, from 0."""
        return self.n_exits - 1

    @property
    def labelled(self) -> Mask:
        return self.label != UNKNOWN

    def take(self, rows: Mask | Ints) -> Self:
        """Return these rows, by mask or position."""
        parts = (self.sample[rows], self.label[rows], self.uncertainty[rows], self.correct[rows], self.agrees[rows])
        seen = (None if part is None else part[rows] for part in (self.growth, self.predictors))
        return type(self)(*parts, self.exits, self.class_names, *seen)

    def fires(self, cut: float) -> Mask:
        """Return where a sample would exit if the exit were evaluated, (samples, exits); always at the last."""
        found = np.ones(self.correct.shape, np.bool_)
        found[:, :-1] = leaves(self.uncertainty[:, :-1], cut)
        return found

    def at(self, exit_number: int, rows: Ints) -> Seen:
        """Return what `Look.at` returns for these rows at a side exit."""
        grown, seen = (None if part is None else part[rows, exit_number] for part in (self.growth, self.predictors))
        return Seen(exit_number, self.last, self.uncertainty[rows, exit_number], grown, seen, self.sample[rows])

    def showing(self, names: Sequence[str]) -> Self:
        """Return the outcomes with these alone of growth and predictors; every step of a walk copies what is there."""
        grown, seen = (getattr(self, name) if name in names else None for name in ("growth", "predictors"))
        return replace(self, growth=grown, predictors=seen)


def read_outcomes(
    cache: LogitCache, scoring: Scoring, labels_required: bool = True, look: Look | None = None
) -> Outcomes:
    """Stream a cache into outcomes, with what `look` sees of every side exit (`routes.rule.joint_look`).

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
    seen: list[list[Seen]] = []
    end = 0
    for rows in cache.read():
        start, end = end, end + len(rows.sample)
        sample[start:end], label[start:end] = rows.sample, rows.label
        values[start:end] = scoring(rows.logits)
        answers = rows.logits.argmax(axis=2)
        correct[start:end] = answers == rows.label[:, None]
        agrees[start:end] = answers == answers[:, -1:]
        if look is not None and len(cache.exits) > 1:
            seen.append(look.every_exit(rows.logits))
    parts = (joined_exits([[getattr(at, name) for at in part] for part in seen]) for name in ("growth", "predictors"))
    outcomes = Outcomes(sample, label, values, correct, agrees, cache.exits, cache.class_names, *parts)
    if labels_required:
        require_labels(outcomes, str(cache.path))
    _require_unique(cache, sample)
    return outcomes


def observe(look: Look, logits: NDArray[Any], label: NDArray[np.int64], sample: NDArray[np.int64]) -> Outcomes:
    """Return the outcomes of logits (samples, exits, classes) held in memory, with all that `look` sees of them.

    Labels and ids are (samples,); an exit is never right where the label is negative. Exits and classes are numbered.
    """
    _, n_exits, n_classes = logits.shape
    answers = logits.argmax(axis=2)
    seen = look.every_exit(logits)
    final = look.at(n_exits - 1, n_exits - 1, logits[:, -1]).uncertainty
    return Outcomes(
        sample,
        label,
        np.stack([*(at.uncertainty for at in seen), final], axis=1),
        answers == label[:, None],
        answers == answers[:, -1:],
        [f"exit_{k + 1}" for k in range(n_exits)],
        [str(number) for number in range(n_classes)],
        joined_exits([[at.growth for at in seen]]),
        joined_exits([[at.predictors for at in seen]]),
    )


def joined_exits(batches: Sequence[Sequence[Floats | None]]) -> Floats | None:
    """Return the values of each batch and side exit as one array (samples, side exits, …); None if there are none."""
    if not batches or not batches[0] or batches[0][0] is None:
        return None
    return np.concatenate([np.stack([at for at in batch if at is not None], axis=1) for batch in batches])


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
    if not scoring.fits(len(cache.exits), cache.n_classes):
        raise InputError(
            f"{cache.path} has {cache.n_classes} classes; the score {scoring.score!r} was fitted for another number of "
            "them"
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
