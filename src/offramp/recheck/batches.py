"""Rule `batch`, written again: batches in the order of ids, each with its largest or mean uncertainty."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from offramp.recheck.certificate import without_certificate
from offramp.recheck.costs_schema import StatedCosts
from offramp.recheck.report import Finding, Verdict
from offramp.recheck.routes import route_of
from offramp.recheck.rows import Table
from offramp.recheck.schema import Entry, PoliciesFile, finite
from offramp.recheck.scores import rounded
from offramp.recheck.steps import figure_findings, figures

METHOD = "batch"


def ruled(entry: Entry, rows: Table) -> Table:
    """Return rows with the uncertainties that a policy's rule compares with its thresholds."""
    if entry.arguments is None:
        return rows
    size, values = entry.arguments.batch_size, rows.uncertainty.copy()
    order = np.argsort(rows.sample)
    for start in range(0, len(rows), size):
        batch = order[start : start + size]
        for k in range(rows.n_exits):
            column = rows.uncertainty[batch, k]
            largest = entry.arguments.reduce == "max"
            values[batch, k] = column.max() if largest else rounded(np.array([column.sum() / len(batch)]))[0]
    return replace(rows, uncertainty=values)


def examine_batch(entry: Entry, file: PoliciesFile, rows: Table, costs: StatedCosts | None) -> Verdict:
    """Return the verdict on a policy of rule `batch`: nothing is certified, but its figures are those of all rows.

    Without `costs` the cost is left out.
    """
    bare = without_certificate(entry)
    if bare.findings or not entry.validation:
        return bare
    return Verdict(
        entry.name, list(_findings(entry, file, ruled(entry, rows), costs)), "its figures; nothing is proved"
    )


def examine_route(entry: Entry, file: PoliciesFile, rows: Table, costs: StatedCosts | None) -> Verdict:
    """Return the verdict on a route without a certificate: its figures are those of the rows outside the tune fold."""
    bare = without_certificate(entry)
    if bare.findings or not entry.validation:
        return bare
    thresholds = finite([entry.thresholds[name] for name in file.exits])
    if costs is not None and (costs.segment is None or costs.head is None):
        costs = None
    routed = replace(rows, route=route_of(entry, file))
    findings = figure_findings(entry.validation, thresholds, routed, costs, every_head=False)
    return Verdict(entry.name, list(findings), "its figures; nothing is proved")


def _findings(entry: Entry, file: PoliciesFile, rows: Table, costs: StatedCosts | None) -> Iterator[Finding]:
    thresholds, every_head = finite([entry.thresholds[name] for name in file.exits]), file.score == "change"
    yield from figure_findings(entry.validation, thresholds, rows, costs, every_head, "validation rows")
    accuracy = figures(thresholds, rows, None, every_head).get("accuracy")
    if entry.method == METHOD and isinstance(accuracy, float):
        said = "feasible" if entry.feasible else "infeasible"
        text = f"it says that it is {said} for {entry.target:g}; the validation rows give {accuracy:.6g}"
        yield Finding(entry.feasible == (accuracy >= entry.target), text)
