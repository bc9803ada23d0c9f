"""README blocks on policies, from metrics/ and results/: what they promise, keep and cost."""

from pathlib import Path
from typing import Any

from docs.readme.reading import read_json
from offramp.project.host import summary

METRICS = Path("metrics")
RESULTS = Path("results")


def deployable_table() -> str:
    """Return the policies that keep their promise by proof or by construction: certified ones and budgets."""
    evaluation = read_json(METRICS / "evaluation.json")
    full = evaluation["full"]
    lines = [
        "| policy | loss: in-sample | certified | held-out test (95 %) | accuracy on test (95 %) | share of MACs |",
        "|---|---|---|---|---|---|",
        f"| full network | | | 0 | {full['accuracy']:.4f} | 1 ({full['mmacs']:.2f} million) |",
    ]
    for policy in read_json(METRICS / "policies.json")["policies"]:
        if policy["method"] not in ("certified", "budget"):
            continue
        row = evaluation[policy["method"]][f"{policy['target']:g}"]
        sure = f"at most {row['certified_loss']:g}" if "certified_loss" in row else ""
        if sure:
            sure += f", {row['certified_confidence']:.0%} sure"
        lines.append(
            f"| {_name(policy)} | {row['validation_loss']:.4f} | {sure} | {_interval(row, 'loss')} "
            f"| {_interval(row, 'accuracy')} | {row['mac_ratio']:.3f} |"
        )
    return "\n".join(lines)


def policies_table() -> str:
    evaluation = read_json(METRICS / "evaluation.json")
    lines = [
        "| policy | accuracy: in-sample | on test (95 %) | loss on test (95 %) | share of MACs (95 %) | target met |",
        "|---|---|---|---|---|---|",
    ]
    for policy in read_json(METRICS / "policies.json")["policies"]:
        row = evaluation[policy["method"]][f"{policy['target']:g}"]
        met = "infeasible" if not row["feasible"] else "yes" if row["meets_target"] else "no"
        lines.append(
            f"| {_name(policy)} | {row['validation_accuracy']:.4f} | {_interval(row, 'accuracy')} "
            f"| {_interval(row, 'loss')} | {_interval(row, 'mac_ratio', 3)} | {met} |"
        )
    return "\n".join(lines)


def _name(policy: dict[str, Any]) -> str:
    return f"**{policy['name']}** (selected)" if policy["selected"] else str(policy["name"])


def names() -> dict[str, str]:
    """Return what policies are called where one row of a table may be of any of them."""
    policies = read_json(METRICS / "policies.json")["policies"]
    return {policy["name"]: _name(policy) + ("" if policy["feasible"] else ", infeasible") for policy in policies}


def _interval(row: dict[str, Any], key: str, digits: int = 4) -> str:
    value, low, high = (f"{row[name]:.{digits}f}" for name in (key, f"{key}_low", f"{key}_high"))
    return f"{value} ({low} to {high})"


def validity() -> str:
    """Return how often promises were broken, per population."""
    lines = [
        "| population | calibrations per setting | certified: promise broken (allowed) | plug-in `overall`: broken |",
        "|---|---|---|---|",
    ]
    for path in sorted((RESULTS / "validity").glob("*.json"), reverse=True):
        measured = read_json(path)
        certified = [setting["certified"]["violations"]["rate"] for setting in measured["settings"]]
        naive = [setting["overall"]["violations"]["rate"] for setting in measured["settings"]]
        lines.append(
            f"| {_population(measured)} | {measured['runs']} | {_range(certified)} "
            f"({measured['violations_allowed']:.3f}) | {_range(naive)} |"
        )
    return "\n".join(lines)


def power() -> str:
    """Return what certified policies cost, procedure by procedure, per population."""
    files = sorted((RESULTS / "power").glob("*.json"), reverse=True)
    measured = [read_json(path) for path in files]
    losses = (0.01, 0.02)
    columns = [f"{_population(result)}, {100 * loss:g} pt" for result in measured for loss in losses]
    lines = ["| certified by | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name in dict.fromkeys(row["procedure"] for row in measured[0]["procedures"]):
        cells = []
        for result in measured:
            rows = {(row["procedure"], row["max_loss"]): row["mac_ratio"] for row in result["procedures"]}
            cells += [f"{rows[name, loss]['mean']:.3f} ± {rows[name, loss]['se']:.3f}" for loss in losses]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def optimiser() -> str:
    lines = []
    for path in sorted((RESULTS / "joint_optimiser").glob("*.json"), reverse=True):
        measured = read_json(path)
        ratios = [row["ratio"] for row in measured["targets"]]
        against = [row["joint"] / row["shared"] for row in measured["targets"]]
        seconds = measured["seconds"]["multipliers"]
        lines.append(
            f"- {path.stem}: {_range(ratios)} of the cheapest policy on a grid of {measured['grid_options']} options "
            f"per exit, {_range(against)} of the best shared cutoff, at {len(ratios)} targets. {seconds['number']} "
            f"multipliers on {seconds['samples']} samples and {seconds['exits']} exits take {seconds['median']:.2f} s "
            f"({seconds['low']:.2f} to {seconds['high']:.2f}) on one core of {summary(measured['host'])}."
        )
    return "\n".join(lines)


def _population(measured: dict[str, Any]) -> str:
    population = measured["population"]
    return f"{population['name']} ({population['rows']} rows)"


def _range(values: list[float]) -> str:
    return f"{min(values):.3f} to {max(values):.3f}"


def cutoff_table() -> str:
    sweep = read_json(METRICS / "sweep.json")
    lines = [
        f"Entropy cutoff {sweep['cutoff']:g} at every side exit: accuracy {sweep['accuracy']:.4f} at "
        f"{sweep['mac_ratio']:.3f} of the full network's MACs.",
        "",
        "| exit | samples | accuracy | million MACs per sample |",
        "|---|---|---|---|",
    ]
    for name, row in sweep["exits"].items():
        accuracy = f"{row['accuracy']:.4f}" if "accuracy" in row else ""
        lines.append(f"| {name} | {row['samples']} | {accuracy} | {row['mmacs']:.2f} |")
    return "\n".join(lines)


def times() -> str:
    measured = read_json(RESULTS / "fresh_clone" / "result.json")
    seconds, host = measured["seconds"], summary(measured["host"])
    lines = ["| command | seconds |", "|---|---|"]
    lines += [f"| {name} | {value:.1f} |" for name, value in seconds.items()]
    return "\n".join([*lines, "", f"One run each, from `results/fresh_clone/result.json`, on {host}."])


def throughput() -> str:
    measured = read_json(RESULTS / "logits_throughput" / "result.json")
    forward, whole = measured["forward_ratio"], measured["whole_ratio"]
    return (
        f"Against a bare forward pass over the same batches in memory, the forward pass inside the stage reaches "
        f"{forward['median']:.2f} ({forward['low']:.2f} to {forward['high']:.2f}) and the whole stage "
        f"{whole['median']:.2f} ({whole['low']:.2f} to {whole['high']:.2f}): median and range of {measured['repeats']} "
        f"repeats side by side, {measured['images']} images, on {summary(measured['host'])}."
    )
