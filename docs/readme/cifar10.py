"""README blocks from results/cifar10: networks, the assignment's two tasks, three classic mistakes."""

from pathlib import Path
from typing import Any

from docs.readme.reading import read_json
from offramp.project.host import summary

RESULTS = Path("results/cifar10")
GIVEN = "given"
NETWORKS = {
    GIVEN: "BranchyNet, weights given",
    "branchynet": "BranchyNet, trained here",
    "resnet18": "ResNet-18, trained here",
}
MISSING = {GIVEN: "not run yet", "branchynet": "not run yet", "resnet18": "not run, for want of a GPU"}
MEGA = 1e6


def networks_block() -> str:
    """Return every exit's accuracy and the selected policy's figures per network; a row that is missing says why."""
    lines = [
        "| network | accuracy at its exits, everyone leaving there | full network, million MACs "
        "| selected policy | loss on test (95 %) | MACs saved | images of val, test |",
        "|---" * 7 + "|",
    ]
    for name, words in NETWORKS.items():
        folder = RESULTS / name
        if not (folder / "result.json").exists():
            lines.append(f"| {words} | missing: {MISSING[name]} | | | | | |")
            continue
        lines.append(_network(words, read_json(folder / "result.json"), read_json(folder / "evaluation.json")))
    return "\n".join([*lines, "", f"{_all_test_images()}{_hosts()}"])


def _network(words: str, result: dict[str, Any], evaluation: dict[str, Any]) -> str:
    exits = result["exits"]
    method, target = result["selected"].split("@")
    entry = evaluation[method][target]
    infeasible = "" if entry["feasible"] else " (infeasible)"
    loss = f"{entry['loss']:.4f} ({entry['loss_low']:.4f} to {entry['loss_high']:.4f})"
    n_val = exits["samples_val_and_test"] - exits["samples_test"]
    return (
        f"| {words} | {' '.join(f'{value:.3f}' for value in exits['test'].values())} "
        f"| {evaluation['full']['mmacs']:.2f} | {result['selected']}{infeasible} | {loss} "
        f"| {1 / entry['mac_ratio']:.2f}× | {n_val} ({result['val_from']} images), {exits['samples_test']} |"
    )


def _all_test_images() -> str:
    """Return the given weights' accuracies on val and test together: both are of the published test split."""
    path = RESULTS / GIVEN / "result.json"
    exits = read_json(path)["exits"] if path.exists() else {}
    if "val_and_test" not in exits:
        return ""
    accuracies = " ".join(f"{value:.4f}" for value in exits["val_and_test"].values())
    return f"On all {exits['samples_val_and_test']:,} test images the given weights reach {accuracies}. "


def _hosts() -> str:
    hosts = {summary(read_json(path)["host"]) for path in sorted(RESULTS.glob("*/result.json"))}
    return f"From `results/cifar10/*/result.json`, which name their commands; on {'; '.join(sorted(hosts))}."


def task_1_block() -> str:
    """Return what each exit did live at the cutoff of 0.6 nats: samples, accuracy, seconds."""
    task = read_json(RESULTS / GIVEN / "result.json")["tasks"]["task_1"]
    single, batched = task["cutoff@0.6"]["batch_1"], task["cutoff@0.6"]["batch_64"]
    lines = ["| exit | samples | accuracy | seconds, batch 1 | seconds, batch 64 |", "|---" * 5 + "|"]
    for name, row in single["exits"].items():
        accuracy = f"{row['accuracy']:.4f}" if "accuracy" in row else ""
        seconds = f"{row['seconds']:.3f} | {batched['exits'][name]['seconds']:.3f}"
        lines.append(f"| {name} | {row['samples']} | {accuracy} | {seconds} |")
    for words, name in (("all", "cutoff@0.6"), ("full network", "full")):
        one, many = task[name]["batch_1"], task[name]["batch_64"]
        seconds = f"{one['seconds']:.3f} | {many['seconds']:.3f}"
        lines.append(f"| {words} | {task['about']['samples']} | {one['accuracy']:.4f} | {seconds} |")
    about = task["about"]
    closing = (
        f"Engine {about['engine']}, {about['threads']} threads, median of {about['repeats']} repeats, {about['host']}."
    )
    return "\n".join([*lines, "", closing])


def task_2_block() -> str:
    """Return, per target, what thresholds chosen on val do on test, and what choosing on test would have claimed."""
    task = read_json(RESULTS / GIVEN / "result.json")["tasks"]["task_2"]
    lines = [
        "| policy | on val, where it was chosen | on test (95 %) | share of MACs "
        "| *the mistake*: chosen and reported on test, claims | share of MACs |",
        "|---" * 6 + "|",
    ]
    for name, row in task.items():
        honest, claimed = row["chosen_on_val"], row["mistake_chosen_on_test"]
        seen = f"{honest['validation_accuracy']:.4f}" if "validation_accuracy" in honest else ""
        infeasible = "" if honest["feasible"] else " (infeasible)"
        accuracy = f"{honest['accuracy']:.4f} ({honest['accuracy_low']:.4f} to {honest['accuracy_high']:.4f})"
        claim = f"{claimed['accuracy']:.4f}" + ("" if claimed["feasible"] else " (infeasible)")
        lines.append(
            f"| {name}{infeasible} | {seen} | {accuracy} | {honest['mac_ratio']:.3f} "
            f"| {claim} | {claimed['mac_ratio']:.3f} |"
        )
    return "\n".join(lines)


def mistakes_block() -> str:
    """Return the three classic mistakes in words, with their figures."""
    found = read_json(RESULTS / GIVEN / "result.json")["mistakes"]
    return "\n".join(
        f"{number}. {text}" for number, text in enumerate((_inverted(found), _tuned(found), _forgotten(found)), start=1)
    )


def _inverted(found: dict[str, Any]) -> str:
    right, wrong = found["inverted_test"]["right"], found["inverted_test"]["mistake"]
    return (
        f"**The inverted entropy test.** Leaving where entropy is *above* the cutoff sends the least confident images "
        f"out first. At {found['cutoff']:g} nats the right test has an accuracy of {right['accuracy']:.3f} "
        f"({right['mac_ratio']:.2f} of the MACs), the inverted one {wrong['accuracy']:.3f} ({wrong['mac_ratio']:.2f}); "
        f"those who leave at exit 1 are right in {right['exits']['exit_1']['accuracy']:.1%} and in "
        f"{wrong['exits']['exit_1']['accuracy']:.1%} of the cases."
    )


def _tuned(found: dict[str, Any]) -> str:
    rows = found["tuned_on_test"]
    loss = rows[len(rows) // 2]["loss_asked_for"]
    asked = [row for row in rows if row["loss_asked_for"] == loss]
    gaps = ", ".join(
        f"{100 * row['true_minus_claimed_loss']:.1f} points too small with {row['rows']} images" for row in asked
    )
    missed = ", ".join(f"{row['loses_more_than_asked_for']:.0%}" for row in asked)
    return (
        "**Thresholds tuned on test.** Whoever tunes every exit's threshold on the images that he then reports on "
        f"claims too much: asked for a loss of at most {loss:g}, the claimed loss is on average {gaps}, compared with "
        f"the images left out, and {missed} of {asked[0]['repeats']} tunings lose more than was asked for."
    )


def _forgotten(found: dict[str, Any]) -> str:
    row = found["forgotten_last_exit"]
    return (
        f"**The forgotten last exit.** The last exit takes who is left: {row['share_at_last_exit']:.1%} of the images; "
        f"it gets {row['accuracy_at_last_exit']:.1%} of them right. The accuracy of all is {row['right']:.3f}; "
        f"without these it seems to be {row['mistake_early_exits_only']:.3f}, weighted by who *reaches* an exit "
        f"{row['mistake_weighted_by_reaching']:.3f}."
    )
