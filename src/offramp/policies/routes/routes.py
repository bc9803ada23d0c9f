"""Routes that can be deployed: every exit, chosen exits, and the engine's forecasts.

`offramp.policies.routes.learned` has the learned forecast, `offramp.policies.routes.jumps` what these are held against.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from offramp.policies.routes.observed import Ints, Mask, Seen
from offramp.policies.routes.smoothing import HORIZON, engine_macs, jumps
from offramp.policies.routes.walk import Route
from offramp.scores.registry import Floats


@dataclass(frozen=True, kw_only=True)
class EveryExit(Route):
    """Look at every exit from `start` on. With `start` at the final classifier it is the full network."""

    name: ClassVar[str] = "every_exit"
    forecasts: ClassVar[bool] = False

    def jumps(self, seen: Seen, cut: float) -> Ints:
        del cut
        return np.ones(len(seen), np.intp)


@dataclass(frozen=True, kw_only=True)
class Placed(Route):
    """Look at these side exits, ascending, and then at the final classifier; none: the full network."""

    name: ClassVar[str] = "placed"
    forecasts: ClassVar[bool] = False
    exits: tuple[int, ...]
    start: int = 0  # no exit before it is looked at
    clamp: bool = False

    def __post_init__(self) -> None:
        if list(self.exits) != sorted(set(self.exits)) or any(number < 0 for number in self.exits):
            raise ValueError(f"placed exits must ascend, from 0, without repeats; got {list(self.exits)!r:.80}")
        super().__post_init__()
        kept = tuple(number for number in self.exits if number >= self.start)
        object.__setattr__(self, "exits", kept)
        object.__setattr__(self, "start", kept[0] if kept else NOWHERE)

    def jumps(self, seen: Seen, cut: float) -> Ints:
        del cut
        ahead = next((number for number in self.exits if number > seen.exit), seen.last)
        return np.full(len(seen), ahead - seen.exit)


@dataclass(frozen=True, kw_only=True)
class Predictive(Route):
    """The engine's forecast at every exit that is looked at and does not fire: multi-jump.

    `clamp` is what the released VGG code does, its absence what the ResNet code does. The score is `activation`, β the
    negative cut.
    """

    name: ClassVar[str] = "predictive"
    shows: ClassVar[tuple[str, ...]] = ("growth",)
    horizon: int = HORIZON

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.horizon < 1:
            raise ValueError(f"horizon must be at least 1; got {self.horizon}")

    def jumps(self, seen: Seen, cut: float) -> Ints:
        if seen.growth is None:
            raise ValueError(f"route {self.name!r} needs the engine; make the Look with a horizon of {self.horizon}")
        return jumps(seen.growth, -cut, self.horizon)

    def step_macs(self, n_exits: int, n_classes: int) -> Floats:
        return np.full(n_exits, float(engine_macs(n_classes, self.horizon)))


@dataclass(frozen=True, kw_only=True)
class SingleJump(Predictive):
    """One forecast, at `start`: who arrives where it points leaves there, whatever the exit shows."""

    name: ClassVar[str] = "single_jump"

    def leaves(self, seen: Seen, cut: float) -> Mask:
        return np.ones(len(seen), np.bool_) if seen.exit > self.start else super().leaves(seen, cut)


NOWHERE = 2**31  # a start beyond every exit
