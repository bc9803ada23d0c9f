"""What remains of a logit cache once a score is chosen: one float and one bit per sample and exit.

Policies, calibration and replay see only this; 10^8 samples of a 6-exit network fit in memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.cache.reading import UNKNOWN, LogitCache
from offramp.errors import InputError
from offramp.uncertainty import uncertainty


@dataclass(frozen=True)
class Outcomes:
    """Every exit's uncertainty and whether its answer is right, (samples, exits); labels and ids are (samples,)."""

    sample: NDArray[np.int64]
    label: NDArray[np.int64]
    uncertainty: NDArray[np.float64]
    correct: NDArray[np.bool_]
    exits: list[str]
    class_names: list[str]

    def __len__(self) -> int:
        return len(self.sample)

    @property
    def n_exits(self) -> int:
        return len(self.exits)


def read_outcomes(
    cache: LogitCache, score: str, temperature: Mapping[str, float] | None = None, labels_required: bool = True
) -> Outcomes:
    """Stream a cache into outcomes. `temperature` is per exit, 1 where it is None.

    The answer of an exit is its largest logit, the first one of equals; it is never right where the label is UNKNOWN.
    Raises InputError for a sample that stands twice and, if `labels_required`, for unknown labels, besides what reading
    refuses.
    """
    temperatures = np.array([1.0 if temperature is None else temperature[name] for name in cache.exits])
    sample = np.empty(cache.n_rows, np.int64)
    label = np.empty(cache.n_rows, np.int64)
    values = np.empty((cache.n_rows, len(cache.exits)))
    correct = np.empty((cache.n_rows, len(cache.exits)), np.bool_)
    end = 0
    for rows in cache.read():
        start, end = end, end + len(rows.sample)
        sample[start:end], label[start:end] = rows.sample, rows.label
        values[start:end] = uncertainty(rows.logits, score, temperatures)
        correct[start:end] = rows.logits.argmax(axis=2) == rows.label[:, None]
    if labels_required:
        _require_labels(cache, label)
    _require_unique(cache, sample)
    return Outcomes(sample, label, values, correct, cache.exits, cache.class_names)


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


def _require_labels(cache: LogitCache, label: NDArray[np.int64]) -> None:
    missing = np.flatnonzero(label == UNKNOWN)
    if len(missing):
        raise InputError(
            f"{cache.path}: {len(missing)} of {len(label)} labels are null, the first at row {missing[0]}; "
            "every row needs its label here"
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
