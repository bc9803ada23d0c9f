"""INT8 against float32, live, side by side: the full network and each one's selected policy, metrics/int8.json.

The ratios are of two runs of the same repeat; their median and spread over the repeats stand in the file.
"""

from dataclasses import dataclass
from typing import Any

from offramp.policies.policy import FULL, SELECTED, Policies, named_policy
from offramp.runtime.benchmark.caching import Logits, Pictures
from offramp.runtime.benchmark.measuring import Floats, Measured, time_policies
from offramp.runtime.benchmark.session import worst_agreement
from offramp.runtime.engines.pieces import Engine
from offramp.runtime.live_routes import runtime_for
from offramp.runtime.timing import spread

POLICIES = (FULL, SELECTED)


@dataclass(frozen=True)
class Precision:
    """A network in one precision: its engine, its own policies, and its main cache's logits of the images timed."""

    engine: Engine
    policies: Policies
    logits: Logits  # (samples, exits, classes)


def benchmark(
    int8: Precision, float32: Precision, pictures: Pictures, batch_sizes: list[int], repeats: int
) -> dict[str, Any]:
    """Return, per policy and batch size, both times and accuracies and how many times faster INT8 is.

    `mismatches` are live answers that differ from a replay of the main cache, in the worst repeat. `speedup_over_full`
    of the selected INT8 policy is against the full network in float32.
    """
    both = {"float32": float32, "int8": int8}
    runtimes = {}
    for precision, of in both.items():
        for name in POLICIES:
            policy = named_policy(name, of.policies)
            runtimes[f"{name} {precision}"] = runtime_for(of.engine, policy)
    table: dict[str, Any] = {name: {} for name in POLICIES}
    for batch_size in batch_sizes:
        runs = time_policies(runtimes, pictures.images, batch_size, repeats, len(int8.policies.exits), pictures.sample)
        for name in POLICIES:
            row: dict[str, Any] = {
                precision: _figures(runs[f"{name} {precision}"], of, name, pictures) for precision, of in both.items()
            }
            ours, theirs = runs[f"{name} int8"].seconds, runs[f"{name} float32"].seconds
            row |= _ratio("speedup", theirs / ours)
            if name == SELECTED:
                row |= _ratio("speedup_over_full", runs[f"{FULL} float32"].seconds / ours)
            table[name][f"batch_{batch_size}"] = row
    return table


def describe(table: dict[str, Any]) -> str:
    """Return a line per policy and batch size."""
    lines = []
    for name in POLICIES:
        for size, row in table[name].items():
            times = " and ".join(f"{row[precision]['ms_per_sample']:.4f}" for precision in ("int8", "float32"))
            ratio = f"{row['speedup']:.2f} ({row['speedup_low']:.2f} to {row['speedup_high']:.2f})"
            lines.append(f"{name:<8} {size:<8} INT8 and float32: {times} ms per sample, ratio {ratio}")
    return "\n".join(lines)


def _figures(run: Measured, of: Precision, name: str, pictures: Pictures) -> dict[str, Any]:
    policy = named_policy(name, of.policies)
    agreement = worst_agreement(policy, run, of.logits, pictures.sample)
    median, low, high = spread(run.seconds / run.samples * 1e3)
    return {
        "policy": policy.name,
        "ms_per_sample": median,
        "ms_low": low,
        "ms_high": high,
        "accuracy": float((run.label[run.median] == pictures.label).mean()),
        "mismatches": agreement.mismatches,
    }


def _ratio(name: str, ratios: Floats) -> dict[str, float]:
    median, low, high = spread(ratios)
    return {name: median, f"{name}_low": low, f"{name}_high": high}
