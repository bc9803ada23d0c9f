"""Routes that jump without a forecast: every n-th exit, or drawn at random."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from offramp.policies.outcomes import Outcomes
from offramp.policies.routes.observed import Ints, Seen
from offramp.policies.routes.walk import Route
from offramp.scores.registry import Floats


@dataclass(frozen=True, kw_only=True)
class ConstantJump(Route):
    """Look at every `ahead`-th exit."""

    name: ClassVar[str] = "constant_jump"
    blind: ClassVar[bool] = True
    ahead: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ahead < 1:
            raise ValueError(f"a jump goes at least 1 exit ahead; got {self.ahead}")

    def jumps(self, seen: Seen, cut: float) -> Ints:
        del cut
        return np.full(len(seen), self.ahead)


@dataclass(frozen=True, kw_only=True)
class RandomJump(Route):
    """Draw jumps from a histogram, `weights` (jump 1, jump 2, …), by a hash of seed, key of the sample, and exit.

    Keys are sample ids in replay; a runtime that runs this control gives the same. Logits could not stand for them:
    their last bits depend on the batch.
    """

    name: ClassVar[str] = "random_jump"
    blind: ClassVar[bool] = True
    keyed: ClassVar[bool] = True
    weights: tuple[float, ...]
    seed: int = 17

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(0 <= weight < np.inf for weight in self.weights) or not sum(self.weights) > 0:
            raise ValueError(f"weights must be finite, not negative and not all 0; got {list(self.weights)!r:.80}")

    def jumps(self, seen: Seen, cut: float) -> Ints:
        del cut
        if seen.key is None:
            raise ValueError(f"route {self.name!r} needs a key per sample: the sample ids")
        limits = np.cumsum(self.weights) / np.sum(self.weights)
        drawn = np.searchsorted(limits, uniform(seen.key, seen.exit, self.seed), side="right")
        return np.asarray(1 + np.minimum(drawn, np.flatnonzero(self.weights)[-1]), np.intp)


def first_jumps(outcomes: Outcomes, cut: float, start: int) -> tuple[Ints, Ints]:
    """Return which rows do not fire at `start`, and how far ahead each first fires, the final classifier always does.

    Positions (rows,) and distances (rows,), at least 1.
    """
    fires = outcomes.fires(cut)
    rows = np.flatnonzero(~fires[:, start])
    return rows, 1 + fires[rows, start + 1 :].argmax(axis=1)


def jump_histogram(outcomes: Outcomes, cut: float, start: int) -> tuple[float, ...]:
    """Return the weights of RandomJump that tune rows have from `start`; jump 1 alone where every row fires there."""
    _, actual = first_jumps(outcomes, cut, start)
    counts = np.bincount(actual, minlength=2)[1:] if len(actual) else np.ones(1)
    return tuple(counts.astype(float).tolist())


def uniform(key: NDArray[np.int64], exit_number: int, seed: int) -> Floats:
    """Return numbers in [0, 1), (samples,), that look random and depend on key, exit and seed alone.

    Reference: Steele, Lea & Flood (2014), Fast splittable pseudorandom number generators (SplitMix64's finaliser).
    """
    state = _mixed(np.full(1, seed % 2**64, np.uint64))
    state = _mixed(state + np.uint64(exit_number))
    return (_mixed(state ^ key.astype(np.uint64)) >> np.uint64(11)).astype(np.float64) / 2.0**53


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = state + np.uint64(0x9E3779B97F4A7C15)  # arrays of unsigned integers wrap round without a warning
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
