"""A benchmark as a tidy table, plots/benchmark.csv, and as a few printed lines."""

from collections.abc import Sequence
from typing import Any

from offramp.benchmark.results import entry
from offramp.benchmark.session import Result

Row = dict[str, Any]
WHOLE = ["ms_per_sample", "ms_per_sample_low", "ms_per_sample_high", "modelled_ms", "speedup", "speedup_low"]
WHOLE += ["speedup_high", "mac_speedup", "modelled_speedup", "efficiency", "heads_per_sample"]
COLUMNS = ["engine", "policy", "batch_size", "exit", "samples", "accuracy", "seconds", "step_seconds", *WHOLE]


def tidy(results: Sequence[Result], engine: str) -> list[Row]:
    """Return rows per contestant and batch size: one of the whole, without `exit`, and one per exit.

    At an exit `seconds` are those of the samples that left there and `step_seconds` those of the step that ends there,
    whoever went on; both add up to the whole. Batch sizes that were not measured but modelled (latency.json) have a row
    of the whole with `modelled_ms` alone, for the exits taken at the first measured one.
    """
    rows = []
    for result in results:
        about = {"engine": engine, "policy": result.policy.name, "batch_size": result.run.batch_size}
        figures = entry(result)
        exits = figures.pop("exits")
        whole = {key: figures[key] for key in ("accuracy", "seconds", *WHOLE) if key in figures}
        rows.append(about | {"exit": "", "samples": result.run.samples} | whole)
        steps = result.run.step_seconds[result.run.median].tolist()
        for (name, row), seconds in zip(exits.items(), steps, strict=True):
            rows.append(about | {"exit": name} | row | {"step_seconds": seconds})
    return rows + _modelled_only(results, engine)


def _modelled_only(results: Sequence[Result], engine: str) -> list[Row]:
    measured = {result.run.batch_size for result in results}
    first = results[0].run.batch_size
    return [
        {"engine": engine, "policy": result.policy.name, "batch_size": size, "exit": ""}
        | {"modelled_ms": result.modelled_ms(size)}
        for result in results
        if result.run.batch_size == first
        for size in result.times
        if size not in measured
    ]


def describe(results: Sequence[Result]) -> str:
    """Return a line per contestant and batch size; an infeasible policy is called so first."""
    lines = list(dict.fromkeys(result.policy.warning for result in results if result.policy.warning))
    width = max(len(result.policy.name) for result in results)
    for result in results:
        row = entry(result)
        text = (
            f"batch {result.run.batch_size:>3}  {result.policy.name:<{width}}  {row['ms_per_sample']:.4f} ms a sample"
        )
        if "speedup" in row:
            text += f", {row['speedup']:.2f} times as fast ({row['mac_speedup']:.2f} in MACs)"
        lines.append(f"{text}, accuracy {row['accuracy']:.4f}, {row['mismatches']} mismatches with replay")
    return "\n".join(lines)
