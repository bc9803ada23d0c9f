"""What it costs to leave at an exit: metrics/costs.json, in multiply-adds (MACs).

One multiply-add is one MAC; batch norm, pooling and uncertainty count 0. A sample pays the trunk segments up to its
exit and every head that was run on the way; a disabled exit's head is not run. `full` is the network without side
exits.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.errors import InputError
from offramp.files import write_json

Floats = NDArray[np.float64]
LARGEST = 1e18  # of a cost in a file: sums over samples stay exact enough and never overflow


@dataclass(frozen=True)
class Costs:
    """Costs in `unit`: of segments and heads (exits,), both None where a file holds only `cumulative`."""

    unit: str
    cumulative: Floats  # (exits,): segments 1…k + heads 1…k
    full: float
    segment: Floats | None = None
    head: Floats | None = None
    every_head: bool = False  # a score that compares exits: a disabled exit's head runs where a later one is enabled

    @property
    def n_exits(self) -> int:
        return len(self.cumulative)

    @property
    def refunds_disabled_heads(self) -> bool:
        return self.head is not None

    def at_exits(self, enabled: Sequence[bool]) -> Floats:
        """Return what a sample pays that leaves at each exit (exits,), given which exits are enabled.

        The last exit is always enabled. Without separate head costs a disabled head refunds nothing, unless every side
        exit is disabled: that is the full network, whose cost is known.
        """
        side = np.asarray(enabled[:-1], bool)
        if self.every_head:
            side = np.logical_or.accumulate(side[::-1])[::-1]
        heads_run = np.append(side, True)
        if self.segment is None or self.head is None:
            return self.cumulative if heads_run[:-1].any() else np.full(self.n_exits, self.full)
        return np.cumsum(self.segment) + np.cumsum(self.head * heads_run)

    def static(self) -> Floats:
        """Return the cost (exits,) of a network that ends at exit k and has no other head."""
        if self.segment is None or self.head is None:
            return self.cumulative
        return np.cumsum(self.segment) + self.head


def from_parts(unit: str, segment: Sequence[float], head: Sequence[float]) -> Costs:
    segments, heads = np.asarray(segment, np.float64), np.asarray(head, np.float64)
    full = float(segments.sum() + heads[-1])
    return Costs(unit, np.cumsum(segments) + np.cumsum(heads), full, segments, heads)


def write_costs(path: Path, exits: Sequence[str], segment: Sequence[int], head: Sequence[int]) -> None:
    costs = from_parts("macs", segment, head)
    rows = {
        name: {"segment": int(segment[k]), "head": int(head[k]), "cumulative": int(costs.cumulative[k])}
        for k, name in enumerate(exits)
    }
    write_json(path, {"unit": costs.unit, "exits": rows, "full": int(costs.full)})


def read_costs(path: Path) -> Costs:
    """Return the costs in a file of ours, or in one with only `cumulative` per exit and `full`.

    Raises InputError for a missing file, one that is not such JSON, or costs that are negative or not finite.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"there is no costs file {path}; `dvc repro costs` writes metrics/costs.json") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not readable JSON: {error}") from None
    try:
        return _parse(content)
    except (KeyError, TypeError, ValueError) as error:
        wanted = '{"unit": "macs", "exits": {"exit_1": {"segment", "head", "cumulative"}, …}, "full"}'
        raise InputError(f"{path} is not a costs file: {error!s}; it must look like {wanted}") from None


def _parse(content: Any) -> Costs:
    rows = content["exits"]
    names = [f"exit_{number}" for number in range(1, len(rows) + 1)]
    if not names or set(rows) != set(names):
        raise ValueError(f"its exits are {', '.join(sorted(rows)) or 'none'}, not exit_1 … exit_E")
    columns = {
        key: [rows[name][key] for name in names if key in rows[name]] for key in ("segment", "head", "cumulative")
    }
    numbers = [*columns["segment"], *columns["head"], *columns["cumulative"], content["full"]]
    if not all(isinstance(x, int | float) and not isinstance(x, bool) and 0 <= x <= LARGEST for x in numbers):
        raise ValueError(f"a cost is not a number from 0 to {LARGEST:g}")
    if content["full"] == 0:
        raise ValueError("the full network costs 0")
    if len(columns["segment"]) == len(columns["head"]) == len(names):
        costs = from_parts(content["unit"], columns["segment"], columns["head"])
        if not np.isclose(costs.full, content["full"]):
            raise ValueError(f"full is {content['full']}, but all segments and the last head cost {costs.full:g}")
        return costs
    if len(columns["cumulative"]) != len(names):
        raise ValueError("an exit has neither segment and head nor cumulative")
    cumulative = np.asarray(columns["cumulative"], np.float64)
    if (np.diff(cumulative) < 0).any():
        raise ValueError("cumulative must not fall from one exit to the next")
    return Costs(content["unit"], cumulative, float(content["full"]))
