"""The benchmark's tables in README.md, as Markdown, from metrics/benchmark.json."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from docs.readme.calibration import names
from docs.readme.reading import read_json

ABOUT, FULL = "about", "full"
Content = Mapping[str, Any]


def benchmark_block() -> str:
    return benchmark_table(_measured(), names())


def benchmark_exits_block() -> str:
    return benchmark_exits_table(_measured(), names())


def benchmark_table(content: Content, called: Mapping[str, str]) -> str:
    """Return a row per policy and batch size; `called` is what policies are called here where that is not their name.

    The break-even share is of samples that must leave early for the policy to be as fast as the full network.
    """
    lines = [
        "| policy | batch | ms per sample (10–90 %) | modelled ms | p50, p95, p99 of one image (ms) "
        "| speed-up (10–90 %) | in MACs | efficiency | early: break-even, actual | accuracy | mismatches |",
        "|---" * 11 + "|",
    ]
    for name, size, row in _rows(content):
        cells = [
            called.get(name, name),
            size,
            _spread(row, "ms_per_sample", 3),
            _number(row, "modelled_ms", 3),
            ", ".join(_number(row, key, 3) for key in ("p50_ms", "p95_ms", "p99_ms") if key in row),
            _spread(row, "speedup", 2),
            _number(row, "mac_speedup", 2),
            _number(row, "efficiency", 2),
            f"{_number(row, 'break_even_share', 2) or 'none'}, {_early(row):.2f}" if name != FULL else "",
            _number(row, "accuracy", 4),
            str(row["mismatches"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", _about(content)])


def benchmark_exits_table(content: Content, called: Mapping[str, str]) -> str:
    """Return a row per policy and exit that somebody took: samples, their accuracy, their seconds per batch size."""
    sizes = [name.removeprefix("batch_") for name in content[FULL]]
    seconds = " | ".join(f"seconds, batch {size}" for size in sizes)
    lines = [f"| policy | exit | samples | accuracy | {seconds} |", "|---" * (4 + len(sizes)) + "|"]
    for name, batches in content.items():
        if name == ABOUT:
            continue
        first, *others = batches.values()
        for number, row in first["exits"].items():
            if row["samples"]:
                times = [f"{batch['exits'][number]['seconds']:.3f}" for batch in (first, *others)]
                cells = [called.get(name, name), number, str(row["samples"]), f"{row['accuracy']:.4f}", *times]
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", _about(content)])


def _rows(content: Content) -> Iterator[tuple[str, str, Content]]:
    for name, batches in content.items():
        if name != ABOUT:
            for size, row in batches.items():
                yield name, size.removeprefix("batch_"), row


def _early(row: Content) -> float:
    """Return the share of samples that left before the last exit."""
    *early, last = (exit_row["samples"] for exit_row in row["exits"].values())
    return sum(early) / (sum(early) + last)


def _number(row: Content, key: str, digits: int) -> str:
    return f"{row[key]:.{digits}f}" if key in row else ""


def _spread(row: Content, key: str, digits: int) -> str:
    if key not in row:
        return ""
    value, low, high = (f"{row[name]:.{digits}f}" for name in (key, f"{key}_low", f"{key}_high"))
    return f"{value} ({low} to {high})"


def _about(content: Content) -> str:
    about = content[ABOUT]
    return (
        f"Engine {about['engine']}, {about['threads']} threads, the first {about['samples']} test images, median of "
        f"{about['repeats']} repeats side by side, on {about['host']}."
    )


def _measured() -> Any:
    return read_json(Path("metrics/benchmark.json"))
