"""The selected policy on rows never used: the same claim, tested once, at the undivided delta.

One policy, named before the rows were looked at, and one test: no chain and no choice that would have to be paid for.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import binom

from offramp.errors import InputError
from offramp.recheck.batches import ruled
from offramp.recheck.chains import Thresholds
from offramp.recheck.claims import METHODS, OVERALL, PAIRED, Claim, claim_of, exit_counts, order_of
from offramp.recheck.report import FreshReport
from offramp.recheck.routes import exits_of, route_of
from offramp.recheck.rows import Table, open_for, read_table, repeated
from offramp.recheck.schema import Certificate, Entry, finite, read_policies_file
from offramp.recheck.statistics import paired_p_value

SHOWN = 5  # ids that a message names
GAMMA = 1e-3  # of the test in the other direction, or a hundredth of delta if that is less


class MissingLabelsError(InputError):
    """Rows without the label that a test needs: all their ids, ascending, are `samples`."""

    def __init__(self, path: Path, samples: list[int]) -> None:
        first = ", ".join(map(str, samples[:SHOWN])) + (", …" if len(samples) > SHOWN else "")
        super().__init__(
            f"{path}: {len(samples)} rows that this test needs a label of have none: sample {first}; "
            "write their labels into its column 'label' and try again"
        )
        self.samples = samples


def recheck_fresh(policies_path: Path, fresh_path: Path, val_path: Path | None = None) -> FreshReport:
    """Return what the rows at `fresh_path` say about the selected policy's claim.

    Raises InputError, besides for unreadable files, where rows also stand in the validation cache (same id, equal
    logits), and MissingLabelsError where the test needs labels that are not there.
    """
    file = read_policies_file(policies_path)
    cache = open_for(fresh_path, file)
    if val_path is not None and (again := repeated(cache, open_for(val_path, file))):
        raise InputError(
            f"{len(again)} rows of {fresh_path} also stand in {val_path}, such as sample {again[0]}; "
            "a fresh test needs rows that no choice has seen"
        )
    entry = file.selected
    rows = replace(ruled(entry, read_table(cache, file)), route=route_of(entry, file))
    thresholds = finite([entry.thresholds[name] for name in file.exits])
    certificate = entry.certificate
    if certificate is None or entry.method not in METHODS or not entry.feasible or not 0 < entry.target <= 1:
        return _without_claim(entry, rows, thresholds, fresh_path)
    claim = Claim(claim_of(entry.method), entry.target, certificate.delta, order_of(certificate.test) or "score")
    _require_labels(claim.labels_needed(rows, thresholds), rows, fresh_path)
    return _test(entry.name, claim, certificate, rows, thresholds)


def _test(name: str, claim: Claim, certificate: Certificate, rows: Table, thresholds: Thresholds) -> FreshReport:
    n, delta = len(rows), claim.level
    counts = claim.counts(rows, thresholds)
    p, against = claim.p_value(n, counts), _p_value_against(claim, n, counts)
    loss = _loss(rows, thresholds)
    contradicted = p > delta and against <= delta
    if p <= delta:
        verdict = f"holds at delta {delta:g}"
    elif contradicted:
        verdict = f"CONTRADICTED: these rows refute the claim at delta {delta:g}, p-value of the claim {against:.4g}"
    else:
        verdict = f"not confirmed on these rows (that does not refute it{_power(claim, certificate, n)})"
    numbers = ", ".join(f"{key.replace('_', ' ', 1)} {number}" for key, number in counts.items())
    statement = claim.statement.partition("certify rows, ")[2]
    text = f"{name}, {statement}: {verdict}\nn = {n}, loss {loss:.4f}, {numbers}, p = {p:.4g}"
    return FreshReport(name, n, loss, text, p, contradicted)


def _p_value_against(claim: Claim, n: int, counts: Mapping[str, int]) -> float:
    """Return the p-value of "the claim is true": small where the rows contradict it."""
    if claim.method == PAIRED:
        gamma = min(GAMMA, claim.level / 100)
        return paired_p_value(n, counts["rescued"], counts["damaged"], -claim.target, "difference", gamma)
    if claim.method == OVERALL:
        return float(binom.cdf(counts["correct"], n, claim.target))
    exits = exit_counts(dict(counts))  # one bad exit contradicts: the smallest p-value, times their number
    return min([1.0, *(len(exits) * float(binom.cdf(right, total, claim.target)) for total, right in exits)])


def _power(claim: Claim, certificate: Certificate, n_fresh: int) -> str:
    """Return in words how likely so many rows confirm a policy that is as good as on the certify rows; "": not known.

    The normal approximation; only for claims about all rows.
    """
    step = certificate.steps[min(max(certificate.returned, 1), len(certificate.steps)) - 1].counts
    n = certificate.n
    if claim.method == PAIRED and {"damaged", "rescued"} <= set(step) and n > 0:
        loss, discordance = (step["damaged"] - step["rescued"]) / n, (step["damaged"] + step["rescued"]) / n
        margin, variance = claim.target - loss, discordance - loss**2
    elif claim.method == OVERALL and "correct" in step and n > 0:
        accuracy = step["correct"] / n
        margin, variance = accuracy - claim.target, accuracy * (1 - accuracy)
    else:
        return ""
    if variance <= 0 or not math.isfinite(margin):
        return ""
    power = float(ndtr(margin * math.sqrt(n_fresh / variance) + ndtri(claim.level)))
    return f": were it as good as its certify rows show, about {power:.0%} of samples of this size would confirm it"


def _without_claim(entry: Entry, rows: Table, thresholds: Thresholds, path: Path) -> FreshReport:
    taken = exits_of(rows, thresholds)
    _require_labels(rows.changed[np.arange(len(rows)), taken], rows, path)
    why = "is infeasible" if not entry.feasible else "has no certificate"
    loss = _loss(rows, thresholds)
    return FreshReport(
        entry.name, len(rows), loss, f"{entry.name} {why}: no claim to test\nn = {len(rows)}, loss {loss:.4f}"
    )


def _loss(rows: Table, thresholds: Thresholds) -> float:
    """Return the accuracy lost against the full network; rows whose answer does not change lose none."""
    taken = exits_of(rows, thresholds)
    right = rows.correct[np.arange(len(rows)), taken]
    return (int(rows.correct[:, -1].sum()) - int(right.sum())) / len(rows)


def _require_labels(needed: NDArray[np.bool_], rows: Table, path: Path) -> None:
    missing = np.sort(rows.sample[needed & ~rows.labelled]).tolist()
    if missing:
        raise MissingLabelsError(path, missing)
