"""What it costs to leave at an exit, in multiply-adds (MACs), metrics/costs.json, or in time, metrics/latency.json.

One multiply-add is one MAC; batch norm, pooling and uncertainty count 0. Times are ms per sample; latency.json holds a
row of costs per engine and batch size. A sample pays the trunk segments up to its exit and every head that was run on
the way; a disabled exit's head is not run. `full` is the network without side exits.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.project.errors import InputError
from offramp.project.files import write_json

Floats = NDArray[np.float64]
LARGEST = 1e18  # of a cost in a file: sums over samples stay exact enough and never overflow
MACS, MS = "macs", "ms"
RATIOS = {MACS: "mac_ratio", MS: "latency_ratio"}  # unit -> what mean cost / full is called
ENGINES = ("onnx", "onnx_int8", "torch")
ROUNDED = 0.01  # by which a measured `full` may differ from the sum of its parts, written with few digits


@dataclass(frozen=True)
class LatencyRow:
    """Which row of latency.json: an engine and a batch size. The defaults are those of `calibrate.latency`."""

    engine: str = "onnx"
    batch_size: int = 1

    def __str__(self) -> str:
        return f"{self.engine}, batch {self.batch_size}"


@dataclass(frozen=True)
class Costs:
    """Costs in `unit`: of segments and heads (exits,), both None where a file holds only `cumulative`.

    `row` says where times were read in latency.json; None for MACs and for times of unknown origin.
    """

    unit: str
    cumulative: Floats  # (exits,): segments 1…k + heads 1…k
    full: float
    segment: Floats | None = None
    head: Floats | None = None
    every_head: bool = False  # a score that compares exits: a disabled exit's head runs where a later one is enabled
    row: LatencyRow | None = None

    @property
    def n_exits(self) -> int:
        return len(self.cumulative)

    @property
    def refunds_disabled_heads(self) -> bool:
        return self.head is not None

    @property
    def measured(self) -> bool:
        """Return whether these are times: then a head may cost more than it saves, and calibrators look for such."""
        return self.unit == MS

    @property
    def ratio(self) -> str:
        """Return what mean cost / full is called in files."""
        return RATIOS[self.unit]

    @property
    def of_full(self) -> str:
        """Return the words that follow such a ratio."""
        if not self.measured:
            return "of the full cost"
        return "of the full network's time" + ("" if self.row is None else f" ({self.row})")

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

    def to_json(self, exits: Sequence[str]) -> dict[str, Any]:
        """Return unit, row and costs per exit: what `costs_from_json` reads, without what follows from these."""
        where = {} if self.row is None else {"engine": self.row.engine, "batch_size": self.row.batch_size}
        if self.segment is None or self.head is None:
            rows = [{"cumulative": value} for value in self.cumulative.tolist()]
            return {"unit": self.unit, **where, "exits": dict(zip(exits, rows, strict=True)), "full": self.full}
        pairs = zip(self.segment.tolist(), self.head.tolist(), strict=True)
        rows = [{"segment": segment, "head": head} for segment, head in pairs]
        return {"unit": self.unit, **where, "exits": dict(zip(exits, rows, strict=True))}


def from_parts(unit: str, segment: Sequence[float], head: Sequence[float], row: LatencyRow | None = None) -> Costs:
    segments, heads = np.asarray(segment, np.float64), np.asarray(head, np.float64)
    full = float(segments.sum() + heads[-1])
    return Costs(unit, np.cumsum(segments) + np.cumsum(heads), full, segments, heads, row=row)


def write_costs(path: Path, exits: Sequence[str], segment: Sequence[int], head: Sequence[int]) -> None:
    costs = from_parts(MACS, segment, head)
    rows = {
        name: {"segment": int(segment[k]), "head": int(head[k]), "cumulative": int(costs.cumulative[k])}
        for k, name in enumerate(exits)
    }
    write_json(path, {"unit": costs.unit, "exits": rows, "full": int(costs.full)})


def read_costs(path: Path, row: LatencyRow | None = None) -> Costs:
    """Return the costs in a file: ours, one with only `cumulative` per exit and `full`, or a row of a latency file.

    `row` plays no part in a file of one table. Raises InputError for a missing file, one that is not such JSON, costs
    that are negative or not finite, and for a latency file without `row` or without that row, naming those it has.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        kind = "latency" if path.stem == "latency" else "costs"
        raise InputError(f"there is no costs file {path}; `dvc repro -P` writes metrics/{kind}.json") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not readable JSON: {error}") from None
    if _is_latency(content):
        content = _choose(content, row, path)
    try:
        return costs_from_json(content)
    except (KeyError, TypeError, ValueError) as error:
        wanted = '{"unit": "macs", "exits": {"exit_1": {"segment", "head", "cumulative"}, …}, "full"}'
        problem = f"{error.args[0]!s} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path} is not a costs file: {problem}; it must look like {wanted}") from None


def _is_latency(content: Any) -> bool:
    """Return whether this is latency.json, which has a table per engine and none of its own."""
    return isinstance(content, dict) and content.get("unit") == MS and "exits" not in content


def _choose(content: dict[str, Any], row: LatencyRow | None, path: Path) -> dict[str, Any]:
    """Return the table of an engine and batch size. Raises InputError, naming those that are there."""
    tables = {
        (engine, name): table
        for engine, batches in content.items()
        if isinstance(batches, dict)
        for name, table in batches.items()
        if name.startswith("batch_") and isinstance(table, dict)
    }
    held = ", ".join(f"{engine} {name.replace('_', ' ')}" for engine, name in tables) or "none"
    if row is None:
        raise InputError(f"{path} holds times per engine and batch size ({held}), where costs in MACs are wanted")
    if (row.engine, f"batch_{row.batch_size}") not in tables:
        raise InputError(f"{path} has no times of {row}; it has {held}; choose one by calibrate.latency")
    table = tables[row.engine, f"batch_{row.batch_size}"]
    return {**table, "unit": MS, "engine": row.engine, "batch_size": row.batch_size}


def costs_from_json(content: Any) -> Costs:
    """Return the costs of one table. Raises KeyError, TypeError or ValueError for what is none.

    `full` may be left out where segments and heads are there.
    """
    if content["unit"] not in RATIOS:
        raise ValueError(f"unit is {content['unit']!r:.40}, not macs or ms")
    names = [f"exit_{number}" for number in range(1, len(content["exits"]) + 1)]
    if not names or set(content["exits"]) != set(names):
        raise ValueError(f"its exits are {', '.join(sorted(content['exits'])) or 'none'}, not exit_1 … exit_E")
    rows = [content["exits"][name] for name in names]
    segment, head, cumulative = ([row[key] for row in rows if key in row] for key in ("segment", "head", "cumulative"))
    given = [content["full"]] if "full" in content else []
    if not all(_is_cost(value) for value in [*segment, *head, *cumulative, *given]):
        raise ValueError(f"a cost is not a number from 0 to {LARGEST:g}")
    row = _row(content)
    if len(segment) == len(head) == len(names):
        costs = from_parts(content["unit"], segment, head, row)
        tolerance = ROUNDED if costs.measured else 1e-5
        if given and not np.isclose(costs.full, given[0], rtol=tolerance):
            raise ValueError(f"full is {given[0]}, but all segments and the last head cost {costs.full:g}")
    elif len(cumulative) == len(names):
        costs = Costs(content["unit"], np.asarray(cumulative, np.float64), float(content["full"]), row=row)
    else:
        raise ValueError("an exit has neither segment and head nor cumulative")
    if costs.full == 0:
        raise ValueError("the full network costs 0")
    if (np.diff(costs.cumulative) < 0).any():
        raise ValueError("cumulative must not fall from one exit to the next")
    return costs


def _is_cost(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LARGEST


def _row(content: dict[str, Any]) -> LatencyRow | None:
    engine, size = content.get("engine"), content.get("batch_size")
    if engine is None and size is None:
        return None
    if engine not in ENGINES:
        raise ValueError(f"engine is {engine!r:.40}, not one of {', '.join(ENGINES)}")
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"batch_size is {size!r:.40}, not a whole number, at least 1")
    return LatencyRow(engine, size)
