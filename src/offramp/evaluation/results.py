"""From policies to metrics/evaluation.json, its summary and the tables: each policy is replayed once for them all."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from offramp.cache.reading import open_cache
from offramp.evaluation.comparison import Comparison, worst_class
from offramp.evaluation.promises import confidence, in_sample, keeps, lowest_exit, measure_of
from offramp.evaluation.tables import Row, accuracy_of, baselines, cost_of, exit_table, full_replay, mean_cost
from offramp.policies.costs import RATIOS, Costs
from offramp.policies.methods import EXIT_ACCURACY, METHODS
from offramp.policies.methods import LOSS as LOSS_MEASURE
from offramp.policies.outcomes import Outcomes
from offramp.policies.policy import Policies, Policy
from offramp.policies.replay import Replay, costs_under, read_for, replay, require_same_exits
from offramp.policies.text import beta
from offramp.project.errors import InputError
from offramp.project.tables import write_table

KEY = ["method", "target"]
ACCURACY = ["accuracy", "accuracy_low", "accuracy_high"]
LOSS = ["loss", "loss_low", "loss_high"]
FIGURES = [*ACCURACY, *LOSS, "loss_bootstrap_low", "loss_bootstrap_high"]
FIGURES += ["mmacs", "mac_ratio", "mac_ratio_low", "mac_ratio_high", "speedup"]
FIGURES += ["ms", "latency_ratio", "latency_ratio_low", "latency_ratio_high"]
TABLES = {  # of plots/: their names are fields of the report
    "tradeoff": [*KEY, "exit", *ACCURACY, *LOSS, "mac_ratio", "mmacs", "speedup", "feasible", "selected"],
    "exits": [*KEY, "exit", "samples", "share", *ACCURACY, "mmacs"],
    "classes": [*KEY, "class", "samples", "full_accuracy", "accuracy", *LOSS, "mac_ratio"],
    "guarantees": [*KEY, "measure", "figure", "value", "low", "high", "exit", "confidence", "feasible", "keeps"],
}

WORDS = {
    "accuracy": "accuracy",
    "exit_accuracy": "lowest one at a side exit",
    "loss": "loss against full network",
    "mac_ratio": "share of MACs",
    "latency_ratio": "share of time, modelled",
}
BARE = {"heads_per_sample": "heads run per sample", "beta": "β"}  # figures without an interval


@dataclass
class Report:
    """What became of all policies: metrics/evaluation.json, rows of tables, the selected policy's replay."""

    evaluation: dict[str, Any]
    selected: Replay
    tradeoff: list[Row] = field(default_factory=list)
    exits: list[Row] = field(default_factory=list)
    classes: list[Row] = field(default_factory=list)
    guarantees: list[Row] = field(default_factory=list)


def read_test(path: Path, content: Policies, costs: Costs) -> Outcomes:
    """Return the outcomes of the test cache at `path` under the policies' scoring.

    Raises InputError for a cache that says it is another split, or that does not fit the policies or the costs.
    """
    cache = open_cache(path)
    split = cache.metadata.get("split", "test")
    if split != "test":
        raise InputError(f"{path} is the {split} split, as its metadata says; policies are evaluated on the test split")
    if cache.exits != content.exits:
        raise InputError(f"{path} has {len(cache.exits)} exits, the policies are for {len(content.exits)}")
    for policy in content.policies:
        if policy.method not in METHODS:
            known = ", ".join(sorted(METHODS))
            raise InputError(f"policy {policy.name!r} has the unknown method {policy.method!r}; known: {known}")
    outcomes = read_for(cache, content)
    require_same_exits(outcomes, costs)
    return outcomes


def evaluate_policies(content: Policies, outcomes: Outcomes, costs: Costs) -> Report:
    """Replay every policy, method by method and target by target; `costs` are those of the costs file.

    Where those are MACs and the policies were chosen for time, each also has the `latency_ratio` that their times give.
    Where `costs` are times, these are used for everything.
    """
    tables = [costs_under(content.scoring, costs)]
    if content.costs is not None and not costs.measured:
        tables.append(costs_under(content.scoring, content.costs))
    full = [full_replay(outcomes, table) for table in tables]
    selected = [replay(outcomes, content.selected, table) for table in tables]
    report = Report({"full": {"accuracy": full[0].accuracy, **mean_cost(full[0])}}, selected[0])
    for policy in content.policies:
        chosen = policy is content.selected
        results = selected if chosen else [replay(outcomes, policy, table) for table in tables]
        compared = [Comparison(*replays) for replays in zip(results, full, selected, strict=True)]
        classes = compared[0].classes(outcomes.label, outcomes.class_names)
        entry = _entry(policy, compared, classes, content)
        report.evaluation.setdefault(policy.method, {})[f"{policy.target:g}"] = entry
        key = {"method": policy.method, "target": policy.target}
        point = {name: entry[name] for name in TABLES["tradeoff"] if name in entry}
        report.tradeoff.append(key | point | {"selected": chosen})
        report.exits += [key | row for row in exit_table(results[0], content.exits)]
        report.classes += [key | row for row in classes]
        report.guarantees += [key | row for row in _guarantees(policy, entry, measure_of(policy, content))]
    report.tradeoff += baselines(outcomes, tables[0])
    return report


def write_tables(folder: Path, report: Report) -> None:
    """Write tradeoff.csv (accuracy against cost), exits.csv, classes.csv and guarantees.csv (promised and measured).

    In tradeoff.csv policies stand next to the full network, `static` exits and the `oracle`; in classes.csv a policy's
    intervals hold for all classes together.
    """
    for name, columns in TABLES.items():
        write_table(folder / f"{name}.csv", columns, getattr(report, name))


def _entry(policy: Policy, compared: list[Comparison], classes: list[Row], content: Policies) -> Row:
    """Return one policy's entry; all but the cost ratios of further tables comes from the first comparison."""
    result = compared[0].policy
    intervals, against = compared[0].bootstrap()
    values = accuracy_of(result)
    values |= compared[0].loss() | cost_of(result) | intervals
    for other in compared[1:]:
        more, _ = other.bootstrap()
        values |= {other.policy.ratio: other.policy.cost_ratio}
        values |= {key: value for key, value in more.items() if key.startswith(other.policy.ratio)}
    promised = measure_of(policy, content)
    entry: Row = {key: values[key] for key in FIGURES if key in values}
    if promised == EXIT_ACCURACY:
        entry |= lowest_exit(result, content.exits)
    entry["feasible"] = policy.feasible
    if promised in entry or promised == EXIT_ACCURACY:  # MACs that were promised are not known from times
        entry["meets_target"] = keeps(policy, entry.get(promised))
    if result.heads is not None:
        entry["heads_per_sample"] = float(result.heads.mean())
    own_beta = beta(policy, content.scoring)
    entry |= {} if own_beta is None else {"beta": own_beta}
    entry |= in_sample(policy)
    sure = confidence(policy)
    if sure is not None:
        entry |= {f"certified_{promised}": policy.target, "certified_confidence": sure}
    entry |= worst_class(classes)
    entry |= {} if policy is content.selected else {"against_selected": against}
    return entry | {"exits": result.exits(content.exits)}


def _guarantees(policy: Policy, entry: Row, measure: str) -> list[Row]:
    """Return the three figures of the promised measure, as far as they exist; `keeps` compares each with the target."""
    rows: list[Row] = []
    for figure, key in (
        ("in_sample", f"validation_{measure}"),
        ("certified", f"certified_{measure}"),
        ("test", measure),
    ):
        if key in entry:
            row: Row = {"figure": figure, "measure": measure, "value": entry[key], "feasible": policy.feasible}
            rows.append(row | {"keeps": keeps(policy, entry[key])})
            if figure == "certified":
                rows[-1]["confidence"] = entry["certified_confidence"]
            if figure == "test":
                rows[-1] |= {"low": entry[f"{measure}_low"], "high": entry[f"{measure}_high"]}
                rows[-1] |= {"exit": entry["lowest_exit"]} if "lowest_exit" in entry else {}
    return rows


def describe(content: Policies, evaluation: dict[str, Any]) -> str:
    """Return the selected policy's figures side by side; an infeasible one is called so first."""
    policy = content.selected
    entry = evaluation[policy.method][f"{policy.target:g}"]
    sure = entry.get("certified_confidence")
    heading = "" if sure is None else f"certified ({sure:g} sure)"
    lines = [] if policy.feasible else [f"INFEASIBLE, {policy.reason}"]
    lines.append(f"full network: accuracy {evaluation['full']['accuracy']:.4f}")
    lines.append(f"{'selected ' + policy.name:<30}{'in-sample':>10}{heading:>26}   held-out test (95 %)")
    lines += [_line(entry, key, words) for key, words in WORDS.items() if key in entry]
    lines += [f"  {words:<28}{'':>36}   {entry[key]:.4g}" for key, words in BARE.items() if key in entry]
    worst = f"{_with_interval(entry, 'worst_class_loss')}, class {entry['worst_class']}"
    return "\n".join([*lines, f"  {'largest loss of a class':<28}{'':>36}   {worst}"])


def _line(entry: Row, key: str, words: str) -> str:
    known, claim = entry.get(f"validation_{key}"), entry.get(f"certified_{key}")
    first = "" if known is None else f"{known:.4f}"
    second = (
        "" if claim is None else f"{'at most' if key in (LOSS_MEASURE, *RATIOS.values()) else 'at least'} {claim:g}"
    )
    return f"  {words:<28}{first:>10}{second:>26}   {_with_interval(entry, key)}"


def _with_interval(entry: Row, key: str) -> str:
    return f"{entry[key]:.4f} ({entry[f'{key}_low']:.4f} to {entry[f'{key}_high']:.4f})"


DEPLOYED = ("accuracy", "loss", "loss_low", "loss_high", "certified_loss", "mac_ratio", "speedup")
POLICY = ("accuracy", "mac_ratio")


def summarise(content: Policies, evaluation: dict[str, Any], outcomes: Outcomes) -> dict[str, Any]:
    """Return metrics/summary.json: full network, deployed policy, every method and target, and each exit, on test.

    An exit's accuracy is over all samples; where costs are times, `mac_ratio` is left out.
    """
    deployed = evaluation[content.selected.method][f"{content.selected.target:g}"]
    policies = {
        method: {target: _of(entry, POLICY) for target, entry in entries.items()}
        for method, entries in evaluation.items()
        if method != "full"
    }
    accuracy = outcomes.correct.mean(axis=0).tolist()
    return {
        "full": evaluation["full"],
        "deployed": _of(deployed, DEPLOYED),
        "policies": policies,
        "exits": {name: {"accuracy": value} for name, value in zip(outcomes.exits, accuracy, strict=True)},
    }


def _of(entry: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: entry[key] for key in keys if key in entry}
