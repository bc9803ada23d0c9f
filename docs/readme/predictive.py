"""README blocks on Predictive Exit, as Markdown, from results/predictive/narrow."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docs.readme.reading import read_json
from offramp.project.host import summary

NARROW = Path("results/predictive/narrow")
WORDS = {
    "every_exit": "every exit",
    "placed": "placed exits",
    "predictive": "engine",
    "predictive_unclamped": "engine, jumps not clamped",
    "predictive_clamped": "engine, jumps clamped",
    "single_jump": "engine, one jump",
    "hand_rule": "hand rule (3, 4 or 5 ahead)",
    "ratio_only": "ratio only",
    "learned": "learned forecast",
    "random_jump": "random jump",
    "oracle_exit": "oracle: the exit that will fire",
    "oracle_label": "oracle: the first right exit",
}
SCORES = {"activation_signed_mean": "`activation`, signed mean", "activation_mean_max": "`activation`, mean largest"}
FORECASTS = ("predictive", "learned", "ratio_only", "hand_rule")
CHANGES = {"class_order": "order of the classes", "mean_logit": "mean of the logits"}
MISSING = {"vgg19": "VGG-19 on CIFAR-10", "resnet34": "ResNet-34 on CIFAR-10"}
Content = dict[str, Any]


def comparison_block() -> str:
    return comparison_table(_read("predictive.json"))


def gains_block() -> str:
    return gains_text(_read("predictive.json"))


def sensitivity_block() -> str:
    return sensitivity_table(_read("predictive.json"))


def energy_block() -> str:
    return energy_table(_read("predictive.json"))


def live_block() -> str:
    return live_table(_read("result.json"))


def missing_block() -> str:
    """Return which networks have no results yet, and the commands that measure them."""
    absent = [name for name in MISSING if not (NARROW.parent / name / "result.json").exists()]
    if not absent:
        return "No row is missing."
    named = "; ".join(f"{MISSING[name]}: `python -m experiments.predictive_vgg {name}`" for name in absent)
    return f"Missing, for want of a GPU: {named}."


def comparison_table(found: Content) -> str:
    """Return all routes at the smallest loss: MACs with the difference from every_exit, heads, accuracy."""
    loss, scores = _loss(found), list(found["comparison"])
    names = list(dict.fromkeys(name for score in scores for name in found["comparison"][score][loss]))
    lines = ["| route | " + " | ".join(SCORES.get(score, f"`{score}`") for score in scores) + " |"]
    lines.append("|---" * (1 + len(scores)) + "|")
    for name in names:
        cells = [_cell(found["comparison"][score][loss].get(name)) for score in scores]
        lines.append(f"| {_words(name)} | {' | '.join(cells)} |")
    about = found["about"]
    told = (
        f"Mean MACs as a fraction of the full network ({about['full_mmacs']:.2f} million, accuracy "
        f"{about['full_accuracy']:.4f}), heads and forecasts counted; in brackets the 95 % interval of the difference "
        f"from `every exit` (paired bootstrap, percentage points of the full network); then heads per sample and "
        f"accuracy. {about['test_rows']} test images; every route's first exit and cut are the cheapest that lose at "
        f"most {float(loss):g} on {about['validation_rows']} validation rows (* none does)."
    )
    return "\n".join([*lines, "", told])


def gains_text(found: Content) -> str:
    """Return what forecasts gain in MACs beside what any could, and how good they are."""
    about = found["about"]
    lines = [
        f"All side heads together are {about['side_heads_ratio']:.0%} of this network's MACs; at full width they are "
        "about 5 % (VGG-19: 5.4 %, ResNet-34: 5.0 %), which bounds there what skipping heads can save.",
        "",
        "| score | loss | route | MACs against every exit | MACs against the engine | authors' accuracy | exact "
        "| overshoot | undershoot |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for score, losses in found["comparison"].items():
        for loss, rows in losses.items():
            quality = found["forecasts"].get(score, {}).get(loss, {})
            for name in (*FORECASTS, "oracle_exit"):
                if name in rows:
                    row = rows[name]
                    cells = [_points(row, "mac_difference"), _points(row, "mac_against_engine")]
                    told = " | ".join([*cells, *_quality(quality.get(name))])
                    lines.append(f"| {score} | {loss} | {_words(name)} | {told} |")
    told = (
        "Percentage points of the full network, 95 % intervals. The last four columns score the first forecast of "
        "samples that do not fire at the engine's first exit (without engine: that of `every exit`), at its cut; blank "
        "where that exit has no side exit to forecast or all samples fire there."
    )
    return "\n".join([*lines, "", told])


def sensitivity_table(found: Content) -> str:
    """Return the shares of decisions that change with what does not change an answer's probabilities."""
    lines = ["| score | route | changed | exits that fire | forecasts | exit taken |", "|---|---|---|---|---|---|"]
    for score, routes in found["sensitivity"].items():
        for name, kinds in routes.items():
            for kind, row in kinds.items():
                cells = " | ".join(f"{row[key]:.1%}" if key in row else "" for key in ("fires", "jumps", "taken"))
                lines.append(f"| {score} | {_words(name)} | {CHANGES[kind]} | {cells} |")
    return "\n".join([*lines, "", "No share of forecasts where every sample fires wherever one could be made."])


def energy_table(found: Content) -> str:
    """Return modelled energy of the frequency rule and of racing to idle, as fractions of the full network's."""
    lines = [
        "| score | route | frequency from the forecast | late | race to idle | without static power: frequency "
        "| race |",
        "|---|---|---|---|---|---|---|",
    ]
    for score, losses in found["energy"].items():
        for name, row in losses[_loss(found)].items():
            shares = [row["scaled_ratio"], row["race_ratio"], row["ideal_scaled_ratio"], row["ideal_race_ratio"]]
            scaled, race, ideal, ideal_race = (f"{share:.3f}" for share in shares)
            lines.append(
                f"| {score} | {_words(name)} | {scaled} | {row['late']:.1%} | {race} | {ideal} | {ideal_race} |"
            )
    told = (
        "MODELLED for an example device whose voltages and power constants are assumed (`predictive.energy`); "
        "fractions of the full network's energy. The deadline is the full network's time at the highest frequency."
    )
    return "\n".join([*lines, "", told])


def live_table(result: Content) -> str:
    """Return speed of the routes on this machine beside the full network."""
    live = result["live"]
    lines = [
        "| batch | route | heads | MACs saved | faster than the full network (10 to 90 %) | accuracy | mismatches |",
        "|---|---|---|---|---|---|---|",
    ]
    for size, rows in live.items():
        if size.startswith("batch_"):
            for name, row in rows.items():
                score, _, route = name.partition("/")
                called = f"{_words(route)}, {score}" if route else "full network"
                speed = f"{row['speedup']:.2f}× ({row['speedup_low']:.2f} to {row['speedup_high']:.2f})"
                lines.append(
                    f"| {size.removeprefix('batch_')} | {called} | {row['heads']:.2f} | {row['mac_speedup']:.2f}× "
                    f"| {speed} | {row['accuracy']:.4f} | {row['mismatches']} |"
                )
    told = (
        f"Engine {live['engine']}, {live['images']} test images, medians of {live['repeats']} repeats side by side, "
        f"{live['threads']} threads, {summary(result['host'])}. Mismatches: samples whose live exit or label is not "
        "that of replaying the same engine's logits at the same batch size."
    )
    return "\n".join([*lines, "", told])


def _cell(row: Content | None) -> str:
    if row is None:
        return ""
    low, high = (100 * row[f"mac_difference_{end}"] for end in ("low", "high"))
    star = "" if row["feasible"] else "*"
    return f"{row['mac_ratio']:.3f}{star} ({low:+.1f} to {high:+.1f}), {row['heads']:.2f}, {row['accuracy']:.4f}"


def _points(row: Content, key: str) -> str:
    if key not in row:
        return ""
    value, low, high = (100 * row[f"{key}{end}"] for end in ("", "_low", "_high"))
    return f"{value:+.2f} ({low:+.2f} to {high:+.2f})"


def _quality(row: Content | None) -> Iterator[str]:
    for key in ("censored_exact", "exact", "overshoot", "undershoot"):
        yield "" if row is None or not row["scored"] else f"{row[key]:.1%}"


def _words(name: str) -> str:
    return WORDS.get(name, name.replace("constant_jump_", "constant jump of "))


def _loss(found: Content) -> str:
    """Return the smallest loss, as it is written in the file."""
    first = next(iter(found["comparison"].values()))
    return min(first, key=float)


def _read(name: str) -> Any:
    return read_json(NARROW / name)
