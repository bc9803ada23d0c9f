"""What a forecast is held against: oracles, which know what comes, and forecasts that look at little or nothing."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from offramp.predictive.engine import HORIZON
from offramp.predictive.evidence import Ints, Mask, Seen, Table
from offramp.predictive.walks import Route, Walk
from offramp.scoring import rounded
from offramp.uncertainty import Floats

BASES = np.linspace(1.05, 3.0, 40)  # tried for RatioOnly; [1, 1, 1] grows what it smooths at most threefold a round

TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, kw_only=True)
class OracleExit(Route):
    """Go to the first exit from `start` on that fires and run its head alone: what a perfect forecast would pay."""

    name: ClassVar[str] = "oracle_exit"
    live: ClassVar[bool] = False

    def jumps(self, seen: Seen, cut: float) -> Ints:
        del seen, cut
        raise ValueError(f"route {self.name!r} knows what comes; it has no jumps")

    def walk(self, table: Table, cut: float) -> Walk:
        return self._going_to(table.fires(cut))

    def _going_to(self, good: Mask) -> Walk:
        """Return the walk to the first good exit (samples, exits) from `start` on, else to the last."""
        wanted = good.copy()
        wanted[:, : self.start] = False
        wanted[:, -1] = True
        taken = wanted.argmax(axis=1)
        visited = taken[:, None] == np.arange(good.shape[1])
        return Walk(taken, visited, np.zeros(good.shape, np.int16))


@dataclass(frozen=True, kw_only=True)
class OracleLabel(OracleExit):
    """Go to the first exit from `start` on whose answer is right, whatever the cut; to the last where none is."""

    name: ClassVar[str] = "oracle_label"

    def walk(self, table: Table, cut: float) -> Walk:
        del cut
        return self._going_to(table.correct)


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


@dataclass(frozen=True, kw_only=True)
class HandRule(Route):
    """The authors' earlier rule, from r = M/(βT): r > 0.7 looks 3 exits ahead, r > 0.4 four, else five.

    Score `activation`; reference: released code of Predictive Exit, history of 2022.
    """

    name: ClassVar[str] = "hand_rule"

    def jumps(self, seen: Seen, cut: float) -> Ints:
        share = shortfall(seen, cut, self.name)
        return np.asarray(np.where(share > 0.7, 3, np.where(share > 0.4, 4, 5)), np.intp)


@dataclass(frozen=True, kw_only=True)
class RatioOnly(Route):
    """⌈log_base(βT/M)⌉, from 1 to `horizon`: what the engine would say if it grew every answer alike.

    Score `activation`.
    """

    name: ClassVar[str] = "ratio_only"
    base: float
    horizon: int = HORIZON

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 < self.base < np.inf:
            raise ValueError(f"base must be a finite number above 1; got {self.base!r}")

    def jumps(self, seen: Seen, cut: float) -> Ints:
        share = np.maximum(shortfall(seen, cut, self.name), TINY)  # an answer of zeros is far away
        rounds = np.ceil(rounded(-np.log(share) / np.log(self.base)))
        return np.clip(rounds, 1, self.horizon).astype(np.intp)


def shortfall(seen: Seen, cut: float, name: str) -> Floats:
    """Return M/(βT) (samples,) of samples that do not leave, below 1. Raises ValueError for a cut that is no −β."""
    if not cut < 0:
        raise ValueError(f"route {name!r} compares activations, whose cut is −β; got the cut {cut!r}")
    return seen.uncertainty / cut


def first_jumps(table: Table, cut: float, start: int) -> tuple[Ints, Ints]:
    """Return which rows do not fire at `start`, and how far ahead each first fires, the final classifier always does.

    Positions (rows,) and distances (rows,), at least 1.
    """
    fires = table.fires(cut)
    rows = np.flatnonzero(~fires[:, start])
    return rows, 1 + fires[rows, start + 1 :].argmax(axis=1)


def jump_histogram(table: Table, cut: float, start: int) -> tuple[float, ...]:
    """Return the weights of RandomJump that tune rows have from `start`; jump 1 alone where every row fires there."""
    _, actual = first_jumps(table, cut, start)
    counts = np.bincount(actual, minlength=2)[1:] if len(actual) else np.ones(1)
    return tuple(counts.astype(float).tolist())


def fit_ratio_only(table: Table, cut: float, start: int, horizon: int = HORIZON, clamp: bool = True) -> RatioOnly:
    """Return the base, of BASES, whose first forecast misses tune rows' first jumps least on average."""
    rows, actual = first_jumps(table, cut, start)
    routes = [RatioOnly(start=start, clamp=clamp, base=base, horizon=horizon) for base in BASES.tolist()]
    if len(rows) == 0 or cut >= 0:
        return routes[-1]
    seen = table.at(start, rows)
    misses = [float(np.abs(route.jumps(seen, cut) - actual).mean()) for route in routes]
    return routes[int(np.argmin(misses))]


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
