"""README blocks on prediction depth and on smaller models, from metrics/{depth,smaller}.json and plots/depth.csv."""

import csv
from pathlib import Path
from typing import Any

from docs.readme.reading import read_json

METRICS, PLOTS = Path("metrics"), Path("plots")
WORDS = {"logits": "the exits' own answers", "knn": "nearest neighbours"}
VERDICTS = {
    "beaten": "early exit is more accurate at no more cost",
    "matched": "early exit is not shown to be less accurate at less cost",
    "as_good": "enough: early exit cannot be told apart from it",
    "unbeaten": "enough: more accurate than early exit at this cost",
    "no_policy": "enough: no policy is as cheap",
}
Row = dict[str, Any]


def depth_block() -> str:
    """Return a table of both kinds of depth, and what goes with depth."""
    with (PLOTS / "depth.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return depth_table(rows, _read("depth"))


def smaller_block() -> str:
    return smaller_table(_read("smaller"))


def depth_table(rows: list[dict[str, str]], summary: Row) -> str:
    """Return one line per depth and kind, then the rank correlations in words; `rows` are those of plots/depth.csv."""
    graded = any(row["mean_difficulty"] for row in rows)
    heads = ["depth by", "settled from", "images", "full network right (95 %)", f"{summary['policy']} right (95 %)"]
    heads += ["mean exit taken", *(["mean difficulty"] if graded else [])]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        cells = [WORDS[row["kind"]], row["depth"], f"{row['samples']} ({float(row['share']):.1%})"]
        cells += [_accuracy(row, "full_"), _accuracy(row, ""), _number(row["mean_exit"])]
        cells += [_number(row["mean_difficulty"])] if graded else []
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", _in_words(summary)])


def _in_words(summary: Row) -> str:
    own, probed = summary["logits"], summary["knn"]
    texts = [_correlation(summary[kind], "exit_taken", f"exit taken ({WORDS[kind]})") for kind in WORDS]
    texts += [_correlation(summary[kind], "difficulty", f"difficulty ({WORDS[kind]})") for kind in WORDS]
    texts.append(_correlation(probed, "logits_depth", "the other kind of depth"))
    known = ", ".join(filter(None, texts))
    correlations = f"Rank correlations of depth (95 %) with {known}. " if known else ""
    return (
        f"{correlations}Under {summary['policy']} {own['leave_at']:.0%} of the images leave where "
        f"the exits' answers settle, {own['leave_after']:.0%} later and {own['leave_before']:.0%} earlier. "
        f"Nearest neighbours: {probed['neighbours']} of {probed['support']} training images, "
        f"{probed['samples']} test images; for {probed['unsettled']:.0%} even those after the last segment "
        "answer otherwise than the network."
    )


def smaller_table(content: Row) -> str:
    """Return one line per network that ends at an exit, then the conclusion that the figures give."""
    lines = [
        "| ends at | cost | accuracy (95 %) | most accurate policy that is not dearer | its accuracy differs by (95 %) "
        "| cheapest policy as accurate | its cost | its accuracy differs by (95 %) | the smaller model |",
        "|---" * 9 + "|",
    ]
    for name, row in content["exits"].items():
        ratio = next(row[key] for key in ("mac_ratio", "latency_ratio") if key in row)
        same_cost, same_accuracy = row.get("same_cost", {}), row.get("same_accuracy", {})
        cells = [name, f"{ratio:.3f}", _interval(row, "accuracy"), _name(same_cost), _difference(same_cost)]
        cells += [_name(same_accuracy), _cost(same_accuracy), _difference(same_accuracy), VERDICTS[row["verdict"]]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", content["conclusion"]])


def _name(row: Row) -> str:
    return f"{row['policy']}{'' if row['feasible'] else ' (infeasible)'}" if row else "none"


def _difference(row: Row) -> str:
    return _interval(row, "accuracy_difference") if row else ""


def _cost(row: Row) -> str:
    return next((f"{row[key]:.3f}" for key in ("mac_ratio", "latency_ratio") if key in row), "")


def _correlation(row: Row, key: str, words: str) -> str:
    if key not in row:
        return ""
    value, low, high = (row[key][f"spearman{end}"] for end in ("", "_low", "_high"))
    return f"{words} {value:.2f} ({low:.2f} to {high:.2f})"


def _interval(row: Row, key: str) -> str:
    value, low, high = (float(row[f"{key}{end}"]) for end in ("", "_low", "_high"))
    return f"{value:.4f} ({low:.4f} to {high:.4f})"


def _accuracy(row: dict[str, str], prefix: str) -> str:
    return _interval(row, f"{prefix}accuracy") if row[f"{prefix}accuracy"] else ""


def _number(cell: str) -> str:
    return f"{float(cell):.2f}" if cell else ""


def _read(name: str) -> Row:
    content: Row = read_json(METRICS / f"{name}.json")
    return content
