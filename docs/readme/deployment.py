"""README blocks from results/deployment: the policies for this machine on all test images, and both engines."""

from pathlib import Path
from typing import Any

from docs.readme.reading import read_json
from offramp.project.host import summary

RESULT = Path("results/deployment/result.json")


def deployment_table() -> str:
    """Return speed, loss and agreement with replay of every contestant at every batch size."""
    measured = read_json(RESULT)
    lines = [
        "| batch | policy | exits on | loss (95 %) | ms per sample | faster (10 to 90 %) | MACs saved | efficiency "
        "| modelled | of it segments | mismatches |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for size, rows in measured.items():
        if size.startswith("batch_"):
            lines += [_row(size.removeprefix("batch_"), name, row) for name, row in rows.items()]
    engines = measured["eager_torch_against_onnx"]
    ratios = ", ".join(
        f"{row['ratio']:.1f}× ({_range(row, 'ratio')}) at {_words(size)}" for size, row in engines.items()
    )
    about = (
        f"All {measured['images']} test images, engine {measured['engine']}, medians of {measured['repeats']} repeats "
        f"side by side, {measured['threads']} threads, {summary(measured['host'])}. For the full network eager PyTorch "
        f"takes {ratios} of what ONNX Runtime takes."
    )
    return "\n".join([*lines, "", about])


def _row(size: str, name: str, row: dict[str, Any]) -> str:
    loss = f"{row['loss']:.4f} ({row['loss_low']:.4f} to {row['loss_high']:.4f})" if name != "full" else "0"
    return (
        f"| {size} | {name} | {row['exits_enabled']} | {loss} | {row['ms_per_sample']:.3f} "
        f"| {row['speedup']:.2f}× ({_range(row, 'speedup', 2)}) | {row['mac_speedup']:.2f}× | {row['efficiency']:.2f} "
        f"| {row['modelled_speedup']:.2f}× | {row['modelled_ms_of_segments'] / row['modelled_ms']:.0%} "
        f"| {row['mismatches']} |"
    )


def _range(row: dict[str, Any], key: str, digits: int = 1) -> str:
    return f"{row[f'{key}_low']:.{digits}f} to {row[f'{key}_high']:.{digits}f}"


def _words(size: str) -> str:
    return size.replace("_", " ")
