"""What a forecast is held against: oracles, which know what comes, and forecasts that look at little or nothing."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from offramp.policies.outcomes import Outcomes
from offramp.policies.routes.jumps import first_jumps
from offramp.policies.routes.observed import Ints, Mask, Seen
from offramp.policies.routes.smoothing import HORIZON
from offramp.policies.routes.walk import Route, Walk
from offramp.scores.registry import Floats
from offramp.scores.scoring import rounded

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

    def walk(self, table: Outcomes, cut: float) -> Walk:
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

    def walk(self, table: Outcomes, cut: float) -> Walk:
        del cut
        return self._going_to(table.correct)


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


def fit_ratio_only(table: Outcomes, cut: float, start: int, horizon: int = HORIZON, clamp: bool = True) -> RatioOnly:
    """Return the base, of BASES, whose first forecast misses tune rows' first jumps least on average."""
    rows, actual = first_jumps(table, cut, start)
    routes = [RatioOnly(start=start, clamp=clamp, base=base, horizon=horizon) for base in BASES.tolist()]
    if len(rows) == 0 or cut >= 0:
        return routes[-1]
    seen = table.at(start, rows)
    misses = [float(np.abs(route.jumps(seen, cut) - actual).mean()) for route in routes]
    return routes[int(np.argmin(misses))]
