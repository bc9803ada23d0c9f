"""Figures of a benchmark: metrics/benchmark.json. Times are this machine's and belong to what `about` says.

`ms_per_sample` and `seconds` are those of the median repeat, the faster one of two; `_low` and `_high` the 10th and
90th percentile of the repeats. `speedup` is the full network's time over the policy's, repeat by repeat, then the
median.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from offramp.policies.policy import FULL
from offramp.runtime.benchmark.measuring import Measured
from offramp.runtime.benchmark.session import Result
from offramp.runtime.timing import spread

PERCENTILES = (50, 95, 99)  # of the time of one image
Row = dict[str, Any]


def to_json(results: Sequence[Result], about: Row) -> Row:
    """Return `about`, then the full network and every policy, batch size by batch size."""
    content: Row = {"about": about}
    for result in results:
        content.setdefault(result.policy.name, {})[f"batch_{result.run.batch_size}"] = entry(result)
    return content


def entry(result: Result) -> Row:
    """Return one contestant's figures at one batch size; what does not exist is left out."""
    row = _times(result.run)
    if result.policy.name != FULL:
        row |= _speedups(result)
    row |= _modelled(result)
    share = break_even_share(result.run, result.full)
    row |= {} if share is None else {"break_even_share": share}
    row |= {"accuracy": result.live.accuracy, "heads_per_sample": result.heads_per_sample}
    row |= {"mismatches": result.own.mismatches}
    row["mismatches_main_cache"] = result.main.mismatches
    if result.main.largest_gap is not None:
        row["largest_gap_main_cache"] = result.main.largest_gap
    return row | {"exits": exits_of(result)}


def exits_of(result: Result) -> dict[str, Row]:
    """Return samples, accuracy and seconds of those that left at each exit; the seconds add up to the whole."""
    live, run = result.live, result.run
    table: dict[str, Row] = {}
    for k, seconds in enumerate(run.exit_seconds[run.median].tolist()):
        samples = int(live.samples_at_exits[k])
        row: Row = {"samples": samples}
        if samples:
            row["accuracy"] = int(live.correct_at_exits[k]) / samples
        table[f"exit_{k + 1}"] = row | {"seconds": seconds}
    return table


def break_even_share(run: Measured, full: Measured) -> float | None:
    """Return the share of samples that must leave early for a policy to be as fast as the full network.

    With F the full network's time per sample, t the policy's mean time of those that left early and T of those that
    reached the last exit, each as measured in its median repeat, it is the s for which s·t + (1 − s)·T = F: early
    leavers keep their mix of exits, and both times are taken as they are, although in larger batches they depend on
    who else is left. 0.0 where T is at most F: it pays from the first one. None where nobody or everybody left early,
    and where t is not below F: it never pays.
    """
    seconds = run.exit_seconds[run.median]
    samples = np.bincount(run.exit[run.median], minlength=len(seconds))
    if samples[-1] in (0, run.samples):
        return None
    early, last = seconds[:-1].sum() / samples[:-1].sum(), seconds[-1] / samples[-1]
    whole = full.seconds[full.median] / full.samples
    if last <= whole:
        return 0.0
    return float((last - whole) / (last - early)) if early < whole else None


def _times(run: Measured) -> Row:
    seconds = float(run.seconds[run.median])
    _, low, high = spread(run.seconds * 1e3 / run.samples)
    row = {"ms_per_sample": seconds * 1e3 / run.samples, "ms_per_sample_low": low, "ms_per_sample_high": high}
    row |= {"images_per_second": run.samples / seconds, "seconds": seconds}
    if run.batch_size == 1:
        values = np.percentile(run.call_seconds * 1e3, PERCENTILES).tolist()
        row |= {f"p{number}_ms": value for number, value in zip(PERCENTILES, values, strict=True)}
    return row


def _speedups(result: Result) -> Row:
    speedup, low, high = spread(result.full.seconds / result.run.seconds)
    macs = 1 / result.live.cost_ratio
    row = {"speedup": speedup, "speedup_low": low, "speedup_high": high}
    return row | {"mac_speedup": macs, "efficiency": speedup / macs}


def _modelled(result: Result) -> Row:
    size = result.run.batch_size
    ms = result.modelled_ms(size)
    if ms is None:
        return {}
    row = {"modelled_ms": ms}
    if result.policy.name != FULL and ms > 0:
        row["modelled_speedup"] = result.times[size].full / ms
    return row


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
