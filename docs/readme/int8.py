"""README blocks on INT8, as Markdown, from metrics/{evaluation_int8,int8}.json and results/quantisation/result.json."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docs.readme.reading import read_json
from offramp.project.host import summary

Content = Mapping[str, Any]
WORDS = {"full": "full network", "selected": "selected policy"}
VARIANTS = {
    "ours": "as here",
    "float32 heads": "heads in float32",
    "float32, batch norm taken out": "float32, batch norm taken out as for INT8",
    "off the shelf": "batch norm left in place, ONNX Runtime's defaults",
    "per-tensor weights": "one scale per weight tensor",
    "uint8 weights": "weights uint8",
    "int8 activations": "activations int8",
    "entropy": "ranges by entropy",
    "percentile 99.999": "ranges by percentile 99.999",
}


def int8_block() -> str:
    return int8_table(_read("metrics/evaluation_int8.json")["against_float32"], _read("metrics/int8.json"))


def variants_block() -> str:
    return variants_table(_read("results/quantisation/result.json"))


def int8_table(compared: Content, timed: Content) -> str:
    """Return accuracy and time of both precisions side by side, and what the selected INT8 policy gains in all."""
    lines = ["| on test | float32 | INT8 | INT8 against float32 |", "|---|---|---|---|"]
    for name, words in WORDS.items():
        row = compared[name]
        policies = (f" ({row[key]})" if key in row else "" for key in ("float32_policy", "policy"))
        values = (f"{row[key]:.4f}{of}" for key, of in zip(("float32_accuracy", "accuracy"), policies, strict=True))
        lines.append(f"| {words}, accuracy | {' | '.join(values)} | loss {_spread(row, 'loss', 4)} |")
    for name, words in WORDS.items():
        for size, row in timed[name].items():
            values = (_spread(row[precision], "ms_per_sample", 3, "ms") for precision in ("float32", "int8"))
            ratio = f"{_spread(row, 'speedup', 2)} times as fast"
            lines.append(f"| {words}, {size.replace('_', ' ')}, ms per sample | {' | '.join(values)} | {ratio} |")
    about, whole = timed["about"], compared["selected_against_full"]
    gains = (
        f"{_spread(row, 'speedup_over_full', 2)} at {size.replace('_', ' ')}" for size, row in timed["selected"].items()
    )
    told = (
        f"Together, early exit and INT8 are, times as fast as the full network in float32: {', '.join(gains)}; they "
        f"lose {_spread(whole, 'loss', 4)} of accuracy. Losses with 95 % paired intervals, from "
        f"`metrics/evaluation_int8.json`; times are medians (10 to 90 %) of {about['repeats']} repeats of "
        f"{about['samples']} images, all side by side, {about['threads']} threads, from `metrics/int8.json`, on "
        f"{about['host']}."
    )
    return "\n".join([*lines, "", told])


def variants_table(measured: Content) -> str:
    """Return what was tried: accuracies on validation, and how many times faster than float32 each is."""
    rows = measured["variants"]
    sizes = [key for key in rows["float32"] if "_batch_" in key]
    heads = (f"{WORDS[key.split('_')[0]]}, batch {key.split('_')[-1]}" for key in sizes)
    lines = [f"| variant | accuracy, exit 1 | accuracy, full | {' | '.join(heads)} |", "|---" * (3 + len(sizes)) + "|"]
    lines.append(
        f"| float32 | {rows['float32']['first_exit']:.4f} | {rows['float32']['full']:.4f} {'| 1 ' * len(sizes)}|"
    )
    for name, words in VARIANTS.items():
        row = rows[name]
        ratios = (_spread(row[key], "speedup", 2) if key in row else "" for key in sizes)
        lines.append(f"| {words} | {row['first_exit']:.4f} | {row['full']:.4f} | {' | '.join(ratios)} |")
    told = (
        f"Times as fast as float32 (10 to 90 % of {measured['rounds']} rounds side by side), accuracies on validation, "
        f"{measured['calibration_images']} calibration images, {measured['threads']} threads, from "
        f"`results/quantisation/result.json`, on {summary(measured['host'])}."
    )
    return "\n".join([*lines, "", told])


def _spread(row: Content, key: str, digits: int, bounds: str = "") -> str:
    low, high = (row[f"{bounds or key}_{end}"] for end in ("low", "high"))
    return f"{row[key]:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _read(path: str) -> Any:
    return read_json(Path(path))
