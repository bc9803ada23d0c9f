"""Energy of a walk, modelled: a forecast tells how much time there is, and so how slowly the next layers may run.

Modelled; no clock is touched. Power is C·V²·f while work is done plus a static part, at a voltage that belongs to the
frequency; a segment takes so many cycles whatever the frequency. After a forecast at exit l that the next look is at
exit t, in a network whose final classifier is exit L, the frequency is f_max·(t − l)/(L − l), raised to the next level
that exists, and raised further where the sample would not be done with t by the deadline: the time of the full network
at f_max.

The forecast has to hold for that: a sample that does not leave at t has used up its time and is late. `reserve` keeps a
share of the time that the remaining segments need at f_max. At 1, nothing is late but by the heads that ran on the way,
and nothing is slowed down either: a deadline that holds whatever the forecast leaves no slack.

Beside it stands racing to idle: the same walk at f_max, then idle until the deadline.

Reference: the rule is that of the authors' later controller; the paper's own equations were not available.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.policies.costs import Costs
from offramp.policies.routes.observed import Ints, Mask
from offramp.policies.routes.walk import Walk, parts
from offramp.scores.registry import Floats

NANO_CYCLES = 1e-3  # nF · V² · (ms · MHz = 1,000 cycles) is a µJ; in mJ


@dataclass(frozen=True)
class Device:
    """A frequency/voltage table, ascending, and power constants; all inputs, none measured here."""

    frequencies_mhz: tuple[float, ...]
    voltages_v: tuple[float, ...]
    capacitance_nf: float  # effective, switched per cycle
    static_w: float  # while a sample is worked on
    idle_w: float = 0.0  # between the end of the work and the deadline
    switch_ms: float = 0.0  # per change of frequency
    switch_mj: float = 0.0

    def __post_init__(self) -> None:
        f, v = self.frequencies_mhz, self.voltages_v
        if not f or len(f) != len(v) or any(b <= a for a, b in zip((0.0, *f), f, strict=False)):
            raise ValueError("frequencies must ascend from above 0, with one voltage each")
        if any(b < a for a, b in zip((0.0, *v), v, strict=False)) or v[0] <= 0:
            raise ValueError("voltages must be above 0 and must not fall as the frequency rises")
        constants = (self.capacitance_nf, self.static_w, self.idle_w, self.switch_ms, self.switch_mj)
        if not all(0 <= value < np.inf for value in constants):
            raise ValueError("power constants must be finite and not negative")

    @property
    def highest(self) -> int:
        return len(self.frequencies_mhz) - 1


@dataclass(frozen=True)
class Work:
    """What segments and heads take at the highest frequency, in ms, (exits,) each."""

    segment_ms: Floats
    head_ms: Floats

    @property
    def deadline_ms(self) -> float:
        """Return the time of the full network."""
        return float(self.segment_ms.sum() + self.head_ms[-1])


@dataclass(frozen=True)
class Energy:
    """Of each sample (samples,): energy in mJ until the deadline or, where later, until it is done; time in ms.

    `race` is the same walk at the highest frequency and idle after; `full` is the full network, one number.
    """

    scaled: Floats
    scaled_ms: Floats
    race: Floats
    race_ms: Floats
    full: float
    deadline_ms: float
    transitions: Ints
    levels: NDArray[np.int16]  # (samples, exits): the frequency at which each segment ran, −1 where none did

    @property
    def late(self) -> Mask:
        """Return which samples are done after the deadline; rounding is no delay."""
        return self.scaled_ms > self.deadline_ms * (1 + 1e-9)


def work_of(costs: Costs, device: Device, macs_per_cycle: float | None = None) -> Work:
    """Return the work in a costs table: its times as they are, or MACs at so many per cycle.

    Raises ValueError where MACs come without `macs_per_cycle`.
    """
    segment, head = parts(costs)
    if costs.measured:
        return Work(segment, head)
    if macs_per_cycle is None or not macs_per_cycle > 0:
        raise ValueError(f"costs in MACs need macs_per_cycle above 0; got {macs_per_cycle!r}")
    per_ms = macs_per_cycle * device.frequencies_mhz[-1] * 1e3
    return Work(segment / per_ms, head / per_ms)


def walk_energy(walk: Walk, work: Work, device: Device, reserve: float = 0.0) -> Energy:
    """Return the modelled energy of a walk; `reserve` in [0, 1].

    A walk without forecasts runs at the highest frequency. After a sample has left, the frequency goes back to the
    highest: a change that costs energy and delays nobody.
    """
    if not 0 <= reserve <= 1:
        raise ValueError(f"reserve must be in [0, 1]; got {reserve!r}")
    n = len(walk.taken)
    levels, changed = np.full(walk.visited.shape, -1, np.int16), np.zeros(n, np.intp)
    spent, elapsed, level = np.zeros(n), np.zeros(n), np.full(n, device.highest)
    for k in range(walk.visited.shape[1]):
        rows = np.flatnonzero(walk.taken >= k)
        levels[rows, k] = level[rows]
        energy, time = _run(work.segment_ms[k] + walk.visited[rows, k] * work.head_ms[k], level[rows], device)
        spent[rows] += energy
        elapsed[rows] += time
        told = rows[walk.jump[rows, k] > 0]
        chosen = _levels(k, k + walk.jump[told, k], elapsed[told], work, device, reserve)
        switched = told[chosen != level[told]]
        level[told] = chosen
        changed[switched] += 1
        elapsed[switched] += device.switch_ms
        spent[switched] += device.switch_ms * device.static_w
    changed += level != device.highest
    highest = np.full(n, device.highest)
    race, race_ms = _run(np.cumsum(work.segment_ms)[walk.taken] + walk.visited @ work.head_ms, highest, device)
    deadline = work.deadline_ms
    full = float(_run(np.array([deadline]), highest[:1], device)[0][0])
    spent += changed * device.switch_mj + np.maximum(deadline - elapsed, 0) * device.idle_w
    race = race + np.maximum(deadline - race_ms, 0) * device.idle_w
    return Energy(spent, elapsed, race, race_ms, full, deadline, changed, levels)


def _run(at_highest_ms: Floats, level: NDArray[np.integer], device: Device) -> tuple[Floats, Floats]:
    """Return energy in mJ and time in ms, (samples,), of work that takes `at_highest_ms` at the highest frequency."""
    frequency, voltage = np.asarray(device.frequencies_mhz), np.asarray(device.voltages_v)
    cycles = at_highest_ms * frequency[-1]  # thousands
    time = cycles / frequency[level]
    return device.capacitance_nf * voltage[level] ** 2 * cycles * NANO_CYCLES + device.static_w * time, time


def _levels(k: int, target: Ints, elapsed: Floats, work: Work, device: Device, reserve: float) -> Ints:
    """Return the level (samples,) for the way from exit `k` to `target` (samples,)."""
    last = len(work.segment_ms) - 1
    reach = np.cumsum(work.segment_ms)
    ahead = reach[target] - reach[k] + work.head_ms[target]
    after = np.where(target < last, reach[last] - reach[target] + work.head_ms[last], 0.0)
    left = work.deadline_ms - elapsed - reserve * after - device.switch_ms
    needed = np.full(len(target), np.inf)
    np.divide(ahead, left, out=needed, where=left > 0)
    share = np.maximum((target - k) / (last - k), needed)
    frequency = np.asarray(device.frequencies_mhz)
    found = np.searchsorted(frequency, share * frequency[-1] * (1 - 1e-9))  # rounding does not raise it by a level
    return np.asarray(np.minimum(found, device.highest), np.intp)
