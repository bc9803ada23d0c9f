"""README block from results/backbones: networks of every kind, cut, exported, quantised and run."""

from pathlib import Path
from typing import Any

from docs.readme.reading import read_json
from offramp.project.host import summary

RESULT = Path("results/backbones/result.json")
MEGA = 1e6


def backbones_block() -> str:
    """Return a row per network: its cost, how far engines are from the uncut torch network, live against replay."""
    measured = read_json(RESULT)
    lines = [
        "| network | exits after | full network, million MACs (uncut) | logits: cut − uncut, ONNX − torch "
        "| same answers in INT8 | live ≠ replay (torch, onnx, INT8) |",
        "|---" * 6 + "|",
    ]
    lines += [_row(name, about) for name, about in measured["networks"].items()]
    about = (
        f"{measured['images']} test images of the embedded data set, untrained networks, "
        f"batch {measured['batch_size']}, largest differences over all exits, from `{RESULT}`, "
        f"on {summary(measured['host'])}."
    )
    return "\n".join([*lines, "", about])


def _row(name: str, about: dict[str, Any]) -> str:
    engines = about["engines"]
    uncut = about.get("macs_uncut")
    macs = f"{about['full'] / MEGA:.2f}" + ("" if uncut is None else f" ({uncut / MEGA:.2f})")
    cut = about.get("largest_difference_to_uncut")
    differences = [] if cut is None else [f"{cut:.2g}"]
    differences.append(f"{engines['onnx']['largest_difference']:.1e}")
    mismatches = ", ".join(str(engines[engine]["mismatches"]) for engine in ("torch", "onnx", "onnx_int8"))
    parts = ", ".join(about.get("exits", [])) or "its own segments"
    return (
        f"| {name} | {parts} | {macs} | {', '.join(differences)} "
        f"| {engines['onnx_int8']['same_answers']:.1%} | {mismatches} |"
    )
