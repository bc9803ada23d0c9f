"""The selected policy on rows never used: the same claim, tested once, at the undivided delta.

One policy, named before the rows were looked at, and one test: no chain and no choice that would have to be paid for.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import binom

from offramp.cache.reading import open_cache
from offramp.check.claims import METHODS, OVERALL, PAIRED, Claim, claim_of, exit_counts
from offramp.check.p_values import paired_p_value
from offramp.check.report import FreshReport
from offramp.check.rows import read_rows, repeated
from offramp.policies.certificate import Certificate
from offramp.policies.file import read_policies
from offramp.policies.outcomes import Outcomes
from offramp.policies.policy import Policy
from offramp.policies.replay import exits_of
from offramp.project.errors import InputError

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

    Raises InputError, besides for unreadable files, where rows are in the validation cache too (same id, equal logits),
    and MissingLabelsError where the test needs labels that are not there.
    """
    content = read_policies(policies_path)
    cache = open_cache(fresh_path)
    if val_path is not None and (again := repeated(cache, open_cache(val_path))):
        raise InputError(
            f"{len(again)} rows of {fresh_path} also stand in {val_path}, such as sample {again[0]}; "
            "a fresh test needs rows that no choice has seen"
        )
    rows, policy = read_rows(cache, content), content.selected
    certificate = policy.certificate
    if certificate is None or policy.method not in METHODS or not policy.feasible or not 0 < policy.target <= 1:
        certificate, claim = None, Claim(PAIRED, policy.target, 1.0)
    else:
        claim = claim_of(policy, certificate.delta, certificate.test)
    missing = rows.sample[claim.labels_needed(rows, policy) & ~rows.labelled]
    if len(missing):
        raise MissingLabelsError(fresh_path, np.sort(missing).tolist())
    if certificate is not None:
        return _test(policy, claim, certificate, rows)
    why, loss = "has no certificate" if policy.feasible else "is infeasible", _loss(rows, policy)
    text = f"{policy.name} {why}: no claim to test\nn = {len(rows)}, loss {loss:.4f}"
    return FreshReport(policy.name, len(rows), loss, text)


def _test(policy: Policy, claim: Claim, certificate: Certificate, rows: Outcomes) -> FreshReport:
    n, delta, loss = len(rows), claim.level, _loss(rows, policy)
    counts = claim.counts(rows, policy)
    p, against = claim.p_value(n, counts), _p_value_against(claim, n, counts)
    contradicted = p > delta and against <= delta
    if p <= delta:
        verdict = f"holds at delta {delta:g}"
    elif contradicted:
        verdict = f"CONTRADICTED: these rows refute the claim at delta {delta:g}, p-value of the claim {against:.4g}"
    else:
        verdict = f"not confirmed on these rows (that does not refute it{_power(claim, certificate, n)})"
    numbers = ", ".join(f"{key.replace('_', ' ', 1)} {number}" for key, number in counts.items())
    statement = claim.says()["statement"].partition("certify rows, ")[2]
    text = f"{policy.name}, {statement}: {verdict}\nn = {n}, loss {loss:.4f}, {numbers}, p = {p:.4g}"
    return FreshReport(policy.name, n, loss, text, p, not contradicted)


def _p_value_against(claim: Claim, n: int, counts: Mapping[str, int]) -> float:
    """Return the p-value of "the claim is true": small where the rows contradict it."""
    if claim.kind == PAIRED:
        gamma = min(GAMMA, claim.level / 100)
        return paired_p_value(n, counts["rescued"], counts["damaged"], -claim.target, "difference", gamma)
    if claim.kind == OVERALL:
        return float(binom.cdf(counts["correct"], n, claim.target))
    exits = exit_counts(counts)  # one bad exit contradicts: the smallest p-value, times their number
    return min([1.0, *(len(exits) * float(binom.cdf(right, total, claim.target)) for total, right in exits)])


def _power(claim: Claim, certificate: Certificate, n_fresh: int) -> str:
    """Return in words how likely this many rows confirm a policy as good as on the certify rows; "": not known.

    The normal approximation; only for claims about all rows.
    """
    counts, n = certificate.returned_step.counts, max(certificate.n, 1)
    margin = variance = 0.0
    if claim.kind == PAIRED and {"damaged", "rescued"} <= set(counts):
        loss, changed = ((counts["damaged"] + sign * counts["rescued"]) / n for sign in (-1, 1))
        margin, variance = claim.target - loss, changed - loss**2
    elif claim.kind == OVERALL and "correct" in counts:
        accuracy = counts["correct"] / n
        margin, variance = accuracy - claim.target, accuracy * (1 - accuracy)
    if variance <= 0:
        return ""
    power = float(ndtr(margin * math.sqrt(n_fresh / variance) + ndtri(claim.level)))
    return f": were it as good as its certify rows show, about {power:.0%} of samples of this size would confirm it"


def _loss(rows: Outcomes, policy: Policy) -> float:
    """Return the accuracy lost against the full network; rows whose answer does not change lose none."""
    right = rows.correct[np.arange(len(rows)), exits_of(rows, policy)]
    return (int(rows.correct[:, -1].sum()) - int(right.sum())) / len(rows)
