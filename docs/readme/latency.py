"""README blocks from metrics/latency.json: what the engines take, and from when on an exit pays for its head."""

from pathlib import Path
from typing import Any

from docs.readme.reading import read_json
from offramp.policies.costs import Costs, LatencyRow, read_costs

METRICS = Path("metrics")
ENGINES = ("onnx", "onnx_int8", "torch")


def engines_table() -> str:
    """Return the full network's time per engine and batch size, and the ratio of the two engines' medians."""
    measured = _latency()
    sizes = list(measured[ENGINES[0]])
    lines = [
        "| full network, ms per sample | " + " | ".join(size.replace("_", " ") for size in sizes) + " |",
        "|---" * (len(sizes) + 1) + "|",
    ]
    for engine in ENGINES:
        lines.append(f"| {engine} | " + " | ".join(_full(measured[engine][size]) for size in sizes) + " |")
    ratios = [measured["torch"][size]["full"] / measured["onnx"][size]["full"] for size in sizes]
    lines.append("| torch / onnx | " + " | ".join(f"{ratio:.1f}" for ratio in ratios) + " |")
    about = f"Medians of {measured['repeats']} rounds (10 to 90 %), {measured['threads']} threads, {measured['host']}."
    return "\n".join([*lines, "", about])


def break_even_table() -> str:
    """Return, at the smallest and largest batch, the share of samples that must leave at an exit for it to save time.

    With exit k alone enabled a sample that leaves takes L, one that does not takes P, and the full network F: the exit
    pays where q L + (1 − q) P < F, from a share q of (P − F) / (P − L) on.
    """
    measured = _latency()
    names = list(next(iter(measured[ENGINES[0]].values()))["exits"])
    lines = ["| engine, batch | " + " | ".join(names[:-1]) + " |", "|---" * len(names) + "|"]
    for engine in ENGINES:
        sizes = list(measured[engine])
        for size in dict.fromkeys((sizes[0], sizes[-1])):
            costs = read_costs(METRICS / "latency.json", LatencyRow(engine, int(size.removeprefix("batch_"))))
            lines.append(f"| {engine}, {size.removeprefix('batch_')} | " + " | ".join(_shares(costs)) + " |")
    return "\n".join(lines)


def break_even(costs: Costs, k: int) -> float:
    """Return the share of samples that must leave at exit `k`, alone enabled, for it to save time; above 1: never."""
    enabled = [j in (k, costs.n_exits - 1) for j in range(costs.n_exits)]
    at = costs.at_exits(enabled)
    leave, stay = float(at[k]), float(at[-1])
    return (stay - costs.full) / (stay - leave)


def _shares(costs: Costs) -> list[str]:
    shares = [break_even(costs, k) for k in range(costs.n_exits - 1)]
    return [f"{share:.0%}" if share <= 1 else "never" for share in shares]


def _full(row: dict[str, Any]) -> str:
    return f"{row['full']:.3f} ({row['full_low']:.3f} to {row['full_high']:.3f})"


def _latency() -> Any:
    return read_json(METRICS / "latency.json")
