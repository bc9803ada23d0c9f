"""The one comparison: a sample leaves where its uncertainty is at most the threshold."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from offramp.scores.scoring import rounded


def leaves(uncertainty: NDArray[np.float64], threshold: float | NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether samples leave at an enabled exit: where their uncertainty is at most its threshold."""
    return uncertainty <= threshold


Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rule:
    """Rule `threshold`, and what every other rule answers in its own way."""

    name: ClassVar[str] = "threshold"

    @classmethod
    def from_json(cls, arguments: Mapping[str, Any] | None) -> Self:
        """Return the rule with these `arguments` of policies.json. Raises ValueError for any that it does not take."""
        if arguments:
            raise ValueError(f"rule {cls.name!r} takes no arguments; got {', '.join(map(repr, arguments))}")
        return cls()

    @property
    def arguments(self) -> dict[str, Any]:
        """Return what `from_json` takes; empty where there is nothing to say."""
        return {}

    @property
    def words(self) -> str:
        """Return the rule for a reader, empty for `threshold`."""
        return ""

    @property
    def batch_size(self) -> int | None:
        """Return how many samples are decided together; None where each is for itself."""
        return None

    def check(self, side_thresholds: Sequence[float | None]) -> None:
        """Raise ValueError where the side exits' thresholds are not those that the arguments stand for."""

    def of_cache(self, uncertainty: Floats, sample: NDArray[np.int64]) -> Floats:
        """Return what is compared with the thresholds, (samples, exits) as `uncertainty`; ids `sample` (samples,)."""
        del sample
        return uncertainty

    def of_call(self, uncertainty: Floats) -> Floats:
        """Return what is compared live, at one exit, for the samples (left,) of one call of the runtime."""
        return uncertainty

    def called_with(self, batch_size: int) -> "Rule":
        """Return the rule as it decides live where every call has so many samples."""
        del batch_size
        return self

    def batches(self, sample: NDArray[np.int64]) -> NDArray[np.intp] | None:
        """Return the number of the batch that decided for each sample; None where each was for itself."""
        del sample
        return None


THRESHOLD = Rule()

__all__ = ["LARGEST_BATCH", "REDUCE", "THRESHOLD", "Batch", "Rule", "reduced_in_batches"]
REDUCE: dict[str, Callable[[Floats], Floats]] = {  # of the last axis
    "max": lambda values: np.asarray(values.max(axis=-1)),
    "mean": lambda values: rounded(np.asarray(values.mean(axis=-1))),  # as scores are: no cut falls between last bits
}


@dataclass(frozen=True)
class Batch(Rule):
    """Rule `batch`: the whole batch leaves where its `reduce`d uncertainty is at most `tolerance`.

    `tolerance` is the threshold of every enabled side exit. Live, a batch is what the runtime is called with.
    """

    name: ClassVar[str] = "batch"
    size: int
    reduce: str
    tolerance: float

    @classmethod
    def from_json(cls, arguments: Mapping[str, Any] | None) -> Self:
        given = dict(arguments or {})
        if set(given) != {"batch_size", "reduce", "tolerance"}:
            held = ", ".join(map(repr, given)) or "nothing"
            raise ValueError(f"rule 'batch' takes the arguments batch_size, reduce and tolerance; got {held}")
        size, reduce, tolerance = given["batch_size"], given["reduce"], given["tolerance"]
        if type(size) is not int or not 1 <= size <= LARGEST_BATCH:
            raise ValueError(f"batch_size must be a whole number from 1 to {LARGEST_BATCH}; got {size!r:.60}")
        if not isinstance(reduce, str) or reduce not in REDUCE:
            raise ValueError(f"reduce must be {' or '.join(REDUCE)}; got {reduce!r:.60}")
        if type(tolerance) not in (int, float) or not abs(tolerance) <= _LARGEST:
            raise ValueError(f"tolerance must be a finite number; got {tolerance!r:.60}")
        return cls(size, reduce, float(tolerance))

    @property
    def arguments(self) -> dict[str, Any]:
        return {"batch_size": self.size, "reduce": self.reduce, "tolerance": self.tolerance}

    @property
    def words(self) -> str:
        return f"batches of {self.size} by their {'largest' if self.reduce == 'max' else 'mean'} uncertainty"

    @property
    def batch_size(self) -> int | None:
        return self.size

    def check(self, side_thresholds: Sequence[float | None]) -> None:
        others = [t for t in side_thresholds if t is not None and t != self.tolerance]
        if others:
            raise ValueError(
                f"every enabled side exit of rule 'batch' has its tolerance, {self.tolerance!r}, as threshold; "
                f"one has {others[0]!r}"
            )

    def of_cache(self, uncertainty: Floats, sample: NDArray[np.int64]) -> Floats:
        return reduced_in_batches(uncertainty, sample, self.size, self.reduce)

    def of_call(self, uncertainty: Floats) -> Floats:
        return np.full(len(uncertainty), REDUCE[self.reduce](uncertainty)) if len(uncertainty) else uncertainty

    def called_with(self, batch_size: int) -> "Rule":
        return replace(self, size=batch_size)

    def batches(self, sample: NDArray[np.int64]) -> NDArray[np.intp] | None:
        if self.size == 1:
            return None
        numbers = np.empty(len(sample), np.intp)
        numbers[np.argsort(sample, kind="stable")] = np.arange(len(sample)) // self.size
        return numbers


LARGEST_BATCH, _LARGEST = 1_000_000, 1e100


def reduced_in_batches(uncertainty: Floats, sample: NDArray[np.int64], size: int, reduce: str) -> Floats:
    """Return uncertainties (samples, exits) replaced by those of their batch; `reduce` is max or mean.

    Batches are `size` consecutive rows by `sample` (samples,), whatever the order here; the last holds what is left.
    """
    order = np.argsort(sample, kind="stable")
    ordered = np.ascontiguousarray(uncertainty[order].T)  # (exits, samples): each batch in one piece, as it is live
    n_exits, n = ordered.shape
    whole = n - n % size
    parts = [REDUCE[reduce](ordered[:, :whole].reshape(n_exits, whole // size, size))]
    if whole < n:
        parts.append(REDUCE[reduce](ordered[:, None, whole:]))
    result = np.empty(uncertainty.shape)
    result[order] = np.concatenate(parts, axis=1).T[np.arange(n) // size]
    return result
