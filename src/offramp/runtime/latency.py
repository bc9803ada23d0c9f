"""What every segment and head costs in milliseconds on this machine: metrics/latency.json.

Parts are not timed alone: a session of its own costs more than the same layers inside a longer one. What is timed is
the runtime under two policies per exit, with that exit alone enabled: everybody leaves there, which costs L, or nobody
does, which costs P; and the full network, which costs F. Then the head costs P − F, what comes with an exit included
(its score, the comparison, the end of one session and the start of another), and the trunk up to it L − (P − F). So the
sums that calibrators minimise are exact for one enabled exit, and a model for several.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from offramp.policies.policy import Policy, Thresholds, full_network
from offramp.project.host import describe, summary
from offramp.runtime.engines.pieces import Engine, Piece
from offramp.runtime.live import Runtime
from offramp.runtime.timing import interleaved, spread
from offramp.scores.scoring import Scoring

Floats = NDArray[np.float64]
CALLS_IN_TURN = 10
MORE_ROUNDS = 2
SPREAD_OVER = 4  # turns of every batch size
WARM_UP = 3  # calls


@dataclass(frozen=True)
class Latency:
    """Milliseconds per sample, per round: of segments and heads (rounds, exits) and of the full network (rounds,)."""

    segment: Floats
    head: Floats
    full: Floats

    def parts(self) -> dict[str, Floats]:
        """Return medians (exits,) of `segment` and `head`, none below 0, that add up to the full network's median."""
        full = float(np.median(self.full))
        head = np.maximum(np.median(self.head, axis=0), 0.0)
        trunk = np.maximum.accumulate(np.maximum(np.median(np.cumsum(self.segment, axis=1), axis=0), 0.0))
        trunk = np.append(np.minimum(trunk[:-1], full - head[-1]), full - head[-1])
        return {"segment": np.diff(trunk, prepend=0.0), "head": head}

    def describe(self) -> str:
        full, low, high = spread(self.full)
        trunk, head = (" ".join(f"{value:.4f}" for value in values) for values in self.parts().values())
        return f"{full:.4f} ms per sample ({low:.4f} to {high:.4f}), segments {trunk}, heads {head}"


def to_json(measured: Mapping[str, Mapping[int, Latency]], threads: int, repeats: int) -> dict[str, Any]:
    """Return metrics/latency.json: per engine and batch size, medians with their 10th and 90th percentiles."""
    about = {"threads": threads, "repeats": repeats, "host": summary(describe())}
    content: dict[str, Any] = {"unit": "ms", **about}
    for engine, by_size in measured.items():
        content[engine] = {f"batch_{size}": _row(latency) for size, latency in by_size.items()}
    return content


def _row(latency: Latency) -> dict[str, Any]:
    parts = latency.parts()
    cumulative = np.cumsum(parts["segment"]) + np.cumsum(parts["head"])
    exits = {}
    for k in range(len(cumulative)):
        row: dict[str, float] = {}
        for part, rounds in (("segment", latency.segment), ("head", latency.head)):
            _, low, high = spread(rounds[:, k])
            row |= {part: float(parts[part][k]), f"{part}_low": low, f"{part}_high": high}
        exits[f"exit_{k + 1}"] = row | {"cumulative": float(cumulative[k])}
    full, low, high = spread(latency.full)
    return {"exits": exits, "full": full, "full_low": low, "full_high": high}


def tidy(measured: Mapping[str, Mapping[int, Latency]]) -> list[dict[str, Any]]:
    """Return one row per engine, batch size, exit and part, in ms per sample; the full network's is part `full`."""
    rows = []
    for engine, by_size in to_json(measured, 0, 0).items():
        if not isinstance(by_size, dict):
            continue
        for size, table in by_size.items():
            about = {"engine": engine, "batch_size": int(size.removeprefix("batch_"))}
            for name, row in table["exits"].items():
                for part in ("segment", "head"):
                    values = {"ms": row[part], "ms_low": row[f"{part}_low"], "ms_high": row[f"{part}_high"]}
                    rows.append({**about, "exit": name, "part": part, **values})
            values = {"ms": table["full"], "ms_low": table["full_low"], "ms_high": table["full_high"]}
            rows.append({**about, "exit": "", "part": "full", **values})
    return rows


def time_parts(
    engine: Engine, scoring: Scoring, image_shape: Sequence[int], batch_sizes: Sequence[int], repeats: int
) -> dict[int, Latency]:
    """Return the latency at each batch size, in rounds of all policies side by side.

    `image_shape` is (channels, height, width); the images are noise. A batch smaller than the largest is called up to
    ten times in a turn, in up to twice `repeats` rounds. The rounds of a batch size are spread over the whole
    measurement, because a machine may be slow for seconds.
    """
    channels, height, width = image_shape
    n_exits = len(scoring.exits)
    runtimes = {
        name: Runtime(engine, Policy(thresholds, scoring=scoring)) for name, thresholds in _policies(n_exits).items()
    }
    network = engine.step(Piece(None, n_exits - 1, (n_exits - 1,), features=True), None)
    last_head = engine.step(Piece(n_exits - 1, n_exits - 1, (n_exits - 1,), features=False), None)
    parts: dict[int, list[Mapping[str, Floats]]] = {size: [] for size in batch_sizes}
    turns = [size for _ in range(SPREAD_OVER) for size in batch_sizes]
    for size in tqdm(turns, desc=f"latency {engine.name}", unit="turn", disable=None, leave=False):
        noise = np.random.default_rng(0).integers(0, 256, (size, height, width, channels), dtype=np.uint8)
        runs: dict[str, Any] = {name: _call(runtime, noise) for name, runtime in runtimes.items()}
        runs["last head"] = _call(last_head, network(noise).features)
        times = max(batch_sizes) // size  # as many as the largest batch has images for
        rounds = math.ceil(repeats * min(MORE_ROUNDS, times) / SPREAD_OVER)
        seconds = interleaved(runs, rounds, WARM_UP, min(CALLS_IN_TURN, times))
        parts[size].append({name: values * 1e3 / size for name, values in seconds.items()})
    ms = {
        size: {name: np.concatenate([part[name] for part in found]) for name in found[0]}
        for size, found in parts.items()
    }
    return {size: _parts(values, n_exits, scoring.compares_exits) for size, values in ms.items()}


def timed_scoring(score: str, exits: list[str], n_classes: int) -> Scoring:
    """Return a scoring that takes as long as the real one: the parameters of a fitted score say nothing."""
    plain = Scoring.plain(score, exits)
    placeholder = plain.record.placeholder
    return plain if placeholder is None else replace(plain, fitted=placeholder(len(exits), n_classes))


def _policies(n_exits: int) -> dict[str, Thresholds]:
    """Return the full network and, for each side exit alone, that everybody or nobody leaves there."""
    full = full_network(n_exits)
    found = {"full": full}
    for k in range(n_exits - 1):
        for name, threshold in (("leave", np.inf), ("pass", -np.inf)):
            found[f"{name} {k}"] = (*full[:k], threshold, *full[k + 1 :])
    return found


def _parts(ms: Mapping[str, Floats], n_exits: int, every_head: bool) -> Latency:
    """Return segments and heads from what the policies took, round by round: slow rounds are slow for all."""
    full = ms["full"]
    heads = np.stack([*(ms[f"pass {k}"] - full for k in range(n_exits - 1)), ms["last head"]], axis=1)
    trunk = np.stack([*(ms[f"leave {k}"] - heads[:, k] for k in range(n_exits - 1)), full - ms["last head"]], axis=1)
    if every_head:  # what passes exit k has run all side heads up to it
        heads[:, :-1] = np.diff(heads[:, :-1], axis=1, prepend=0.0)
    return Latency(np.diff(trunk, axis=1, prepend=0.0), heads, full)


def _call(run: Any, argument: Any) -> Any:
    return lambda: run(argument)
