"""What a check reads of a logit cache: each sample's id, label, answers and uncertainties, and the two folds."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from offramp.cache.reading import UNKNOWN, LogitCache, open_cache
from offramp.errors import InputError
from offramp.recheck.schema import Folds, PoliciesFile
from offramp.recheck.scores import (
    n_change_predictors,
    n_route_predictors,
    powers,
    route_predictors,
    uncertainties,
)

if TYPE_CHECKING:
    from offramp.recheck.routes import Route

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
FIT_ROWS = 20_000  # a fit takes about so many tune rows at most: those with the lowest hashes


@dataclass(frozen=True)
class Table:
    """Samples: ids and labels (samples,), answers and uncertainties (samples, exits)."""

    sample: Ints
    label: Ints
    answers: Ints
    uncertainty: Floats
    n_classes: int = 0
    powers: Floats | None = None  # (samples, exits, rounds + 1): max |z|, then of z smoothed again and again
    predictors: Floats | None = None  # (samples, exits, predictors) of learned routes
    route: "Route | None" = None  # that decides which exits are looked at; None: the thresholds alone

    def __len__(self) -> int:
        return len(self.sample)

    @property
    def n_exits(self) -> int:
        return self.answers.shape[1]

    @property
    def labelled(self) -> Bools:
        return np.asarray(self.label != UNKNOWN)

    @property
    def correct(self) -> Bools:
        """Return whether the answers are right (samples, exits); never where the label is unknown."""
        return self.answers == self.label[:, None]

    @property
    def changed(self) -> Bools:
        """Return whether the answers differ from the last exit's (samples, exits)."""
        return self.answers != self.answers[:, -1:]

    def take(self, rows: Bools) -> Self:
        powers, seen = (None if part is None else part[rows] for part in (self.powers, self.predictors))
        kept = (self.sample[rows], self.label[rows], self.answers[rows], self.uncertainty[rows])
        return type(self)(*kept, self.n_classes, powers, seen, self.route)


def open_for(path: Path, file: PoliciesFile) -> LogitCache:
    """Return the cache at `path`. Raises InputError where its exits or classes are not those of the policies."""
    cache = open_cache(path)
    if cache.exits != file.exits:
        raise InputError(f"{path} has {len(cache.exits)} exits and the policies have {len(file.exits)}")
    sizes = {len(model.mean) for entry in file.policies if entry.route for model in (entry.route.models or {}).values()}
    if sizes - {n_route_predictors(cache.n_classes)}:
        raise InputError(f"{path} has {cache.n_classes} classes; models of rule 'learned' are for another number")
    for k, (name, stated) in enumerate((file.change or {}).items()):
        needed = n_change_predictors(k, cache.n_classes)
        if len(stated.weights) != needed:
            raise InputError(
                f"score 'change' needs {needed} weights at {name}; the policies have {len(stated.weights)}"
            )
    return cache


def read_table(cache: LogitCache, file: PoliciesFile) -> Table:
    """Return all samples of a cache under the scoring of `file`. Raises InputError for an id that stands twice."""
    temperatures = np.array(list(file.temperature.values()))[:, None]
    parts = []
    for rows in cache.read():
        scaled = rows.logits.astype(np.float64) / temperatures
        values = uncertainties(scaled, file.score, file.change, file.activation)
        grown = powers(scaled, file.horizon) if file.horizon else np.zeros((len(values), 0))
        seen = route_predictors(rows.logits.astype(np.float64), values) if file.learned else np.zeros((len(values), 0))
        parts.append((rows.sample, rows.label, rows.logits.argmax(axis=2), values, grown, seen))
    sample, label, answers, values, grown, seen = (np.concatenate(column) for column in zip(*parts, strict=True))
    numbers, counts = np.unique(sample, return_counts=True)
    if len(numbers) < len(sample):
        raise InputError(
            f"{cache.path}: column 'sample' holds {numbers[counts > 1][0]} more than once; ids must be unique"
        )
    more = (grown if file.horizon else None, seen if file.learned else None)
    return Table(sample, label, answers, values, cache.n_classes, *more)


def in_tune(sample: Ints, fold_seed: int, fraction: float) -> Bools:
    """Return which ids (samples,) are in the tune fold: 8 bytes of a hash, over 2^64, are below `fraction`."""
    chosen = []
    for number in sample.tolist():
        first = hashlib.sha256(f"{fold_seed}:{number}".encode()).digest()[:8]
        chosen.append(int.from_bytes(first, "big") / 2**64 < fraction)
    return np.array(chosen, np.bool_)


def digest(sample: Ints) -> str:
    """Return the SHA-256 of ids, ascending, as 8-byte big-endian numbers."""
    return hashlib.sha256(
        b"".join(number.to_bytes(8, "big", signed=True) for number in sorted(sample.tolist()))
    ).hexdigest()


def fit_rows(cache: LogitCache, folds: Folds) -> tuple[Ints, Floats]:
    """Return labels (rows,) and logits (rows, exits, classes) that a fit on the tune fold sees."""
    fraction = min(folds.tune_fraction, FIT_ROWS / cache.n_rows)
    labels, logits = [], []
    for rows in cache.read():
        chosen = in_tune(rows.sample, folds.fold_seed, fraction)
        labels.append(rows.label[chosen])
        logits.append(rows.logits[chosen].astype(np.float64))
    return np.concatenate(labels), np.concatenate(logits)


def tune_batches(cache: LogitCache, folds: Folds) -> Iterator[tuple[Ints, Floats]]:
    """Yield labels (rows,) and logits (rows, exits, classes) of the whole tune fold, as the cache is read."""
    for rows in cache.read():
        chosen = in_tune(rows.sample, folds.fold_seed, folds.tune_fraction)
        yield rows.label[chosen], rows.logits[chosen].astype(np.float64)


def repeated(fresh: LogitCache, seen: LogitCache) -> list[int]:
    """Return the ids of rows that stand in both caches with equal logits."""
    prints = {name for rows in seen.read() for name in _prints(rows.sample, rows.logits)}
    return [number for rows in fresh.read() for number, name in _named(rows.sample, rows.logits) if name in prints]


def _named(sample: Ints, logits: NDArray[np.floating]) -> list[tuple[int, bytes]]:
    return list(zip(sample.tolist(), _prints(sample, logits), strict=True))


def _prints(sample: Ints, logits: NDArray[np.floating]) -> list[bytes]:
    """Return a fingerprint per row, of its id and its logits as float64, in which −0 is 0."""
    values = logits.astype(np.float64) + 0.0
    rows = zip(sample.tolist(), values, strict=True)
    return [hashlib.blake2b(f"{number}:".encode() + row.tobytes(), digest_size=16).digest() for number, row in rows]
