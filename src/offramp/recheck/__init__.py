"""The check of certificates: every one is derived again from the validation cache, and each of its steps confirmed.

Nothing here uses what makes certificates: rule, scores, fits, chains and tests are written again, plainly, from what
the documents say, so that an error must be made twice to pass. Shared are the Parquet reader and the error class.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from offramp.cache.reading import UNKNOWN, LogitCache
from offramp.errors import InputError
from offramp.recheck.batches import examine_batch, examine_route
from offramp.recheck.certificate import Evidence, deal, examine, without_certificate
from offramp.recheck.costs_schema import StatedCosts
from offramp.recheck.fits import activation_thresholds, change_error, temperature
from offramp.recheck.fresh import MissingLabelsError, recheck_fresh
from offramp.recheck.report import Finding, FreshReport, Report, Verdict, same
from offramp.recheck.rows import Table, fit_rows, open_for, read_table, tune_batches
from offramp.recheck.schema import ActivationArguments, Entry, Folds, PoliciesFile, read_costs_file, read_policies_file

__all__ = ["Finding", "FreshReport", "MissingLabelsError", "Report", "recheck", "recheck_fresh"]

WEIGHTS = 1e-5  # by which weights of the score `change` may differ from a new fit, predictors standardised


def recheck(policies_path: Path, val_path: Path, costs_path: Path | None = None) -> Report:
    """Return what becomes of every policy's certificate when it is derived again from the validation cache.

    Raises InputError for files that cannot be read, break their contract or do not fit each other.
    """
    file = read_policies_file(policies_path)
    cache = open_for(val_path, file)
    costs = None if costs_path is None else read_costs_file(costs_path, file.cost)
    folds = next((entry.certificate.folds for entry in file.policies if entry.certificate is not None), None)
    remarks = () if costs else ("costs were taken from the certificates; --costs compares them",)
    of_batches = any(entry.arguments is not None for entry in file.policies)
    if costs is not None and (costs.segment is None or costs.head is None) and any(e.route for e in file.policies):
        raise InputError(f"{costs_path} holds no segments and heads; policies that skip heads need both")
    if folds is None and not of_batches:
        return Report([without_certificate(entry) for entry in file.policies])
    table = read_table(cache, file)
    if folds is None:
        if file.cost is not None and costs is None:
            costs = file.cost.stated()
        remarks = () if costs else ("costs were not compared; --costs does",)
        verdicts = [
            without_certificate(entry) if entry.route is not None else _uncertified(entry, file, table, costs)
            for entry in file.policies  # without a certificate nothing says which rows chose a route
        ]
        return Report(verdicts, remarks)
    evidence = Evidence(file, table, *deal(table, folds), _scoring(cache, file, folds), costs)
    verdicts = []
    steps = sum(len(entry.certificate.steps) for entry in file.policies if entry.certificate is not None)
    with tqdm(total=steps, desc="check", unit="step", disable=None, leave=False) as progress:
        for entry in file.policies:
            if entry.certificate is None:
                rows = table if entry.route is None else evidence.certify
                verdicts.append(_uncertified(entry, file, rows, costs or evidence.first.costs))
            else:
                verdicts.append(examine(entry, entry.certificate, evidence, progress.update))
    return Report(verdicts, remarks)


def _activation(cache: LogitCache, stated: ActivationArguments, folds: Folds) -> Iterator[Finding]:
    """Confirm T of every exit by averaging over the tune rows again."""
    own = activation_thresholds(tune_batches(cache, folds), len(stated.thresholds), stated.statistic)
    for (name, given), expected in zip(stated.thresholds.items(), own, strict=True):
        close = abs(given - expected) <= 1e-6 * abs(expected) + 1e-9  # a mean near 0 has few digits
        yield Finding(close, f"T of {name} by {stated.statistic} is {given:.7g}; the tune fold gives {expected:.7g}")


def _uncertified(entry: Entry, file: PoliciesFile, table: Table, costs: StatedCosts | None) -> Verdict:
    if entry.arguments is None and entry.route is None:
        return without_certificate(entry)
    sizes = [] if costs is None else [part for part in (costs.segment, costs.head, costs.cumulative) if part]
    fits = all(len(part) == table.n_exits for part in sizes)
    if entry.route is not None:
        return examine_route(entry, file, table, costs if fits else None)
    return examine_batch(entry, file, table, costs if fits else None)


def _scoring(cache: LogitCache, file: PoliciesFile, folds: Folds) -> list[Finding]:
    """Confirm temperatures other than 1 and the weights of score `change` by fitting both on the tune rows again."""
    temperatures = list(file.temperature.values())
    fitted = any(value != 1 for value in temperatures)
    if file.activation is not None:
        return list(_activation(cache, file.activation, folds))
    if not fitted and file.change is None:
        return []
    label, logits = fit_rows(cache, folds)
    findings = []
    if fitted:
        known = label != UNKNOWN
        for k, (name, given) in enumerate(file.temperature.items()):
            own = temperature(logits[known, k], label[known])
            findings.append(
                Finding(same(given, own), f"temperature of {name} is {given:.7g}; the tune fold gives {own:.7g}")
            )
    if file.change is not None:
        scaled = logits / np.array(temperatures)[:, None]
        error, name = change_error(scaled, file.change) if len(label) else (np.inf, "every exit")
        text = f"the weights of score 'change' differ by up to {error:.2g} ({name}) from a fit on the tune fold"
        findings.append(Finding(error <= WEIGHTS, text))
    return findings
