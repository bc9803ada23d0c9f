"""The rows of a logit cache as the check reads them: folds by a hash of the ids, answers against labels, repeated rows.

At which exit a sample leaves is asked of the shipped code, for a certificate speaks of the policy that is deployed.
Which rows may shape that policy, and which answers are right, is worked out here a second time.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from offramp.cache.reading import LogitCache, Rows
from offramp.policies.certificate import CertificateFolds
from offramp.policies.outcomes import Outcomes, read_outcomes
from offramp.policies.policy import Policies
from offramp.policies.routes.rule import joint_look

Ints = NDArray[np.int64]


def read_rows(cache: LogitCache, content: Policies) -> Outcomes:
    """Return all rows of a cache under the scoring of the policies, their answers compared again.

    Raises InputError where cache and policies do not fit each other or an id is not unique.
    """
    look = joint_look((policy.rule for policy in content.policies), content.scoring, cache.n_classes)
    rows = read_outcomes(cache, content.scoring, labels_required=False, look=look)
    parts = [(each.sample, each.label, each.logits.argmax(axis=2)) for each in cache.read()]
    sample, label, answers = (np.concatenate(part) for part in zip(*parts, strict=True))
    correct, agrees = answers == label[:, None], answers == answers[:, -1:]
    return replace(rows, sample=sample, label=label, correct=correct, agrees=agrees)


def in_tune(sample: Ints, fold_seed: int, fraction: float) -> NDArray[np.bool_]:
    """Return which ids (samples,) are in the tune fold: 8 bytes of a hash, over 2^64, are below `fraction`."""
    hashes = (hashlib.sha256(f"{fold_seed}:{number}".encode()).digest() for number in sample.tolist())
    return np.array([int.from_bytes(each[:8], "big") / 2**64 < fraction for each in hashes], np.bool_)


def digest(sample: Ints) -> str:
    """Return the SHA-256 of ids, ascending, as 8-byte big-endian numbers."""
    ids = (number.to_bytes(8, "big", signed=True) for number in sorted(sample.tolist()))
    return hashlib.sha256(b"".join(ids)).hexdigest()


@dataclass(frozen=True, kw_only=True)
class TuneRows(LogitCache):
    """A cache that yields the rows of its tune fold alone: a fit that is handed it sees no others."""

    folds: CertificateFolds

    def read(self) -> Iterator[Rows]:
        for rows in super().read():
            chosen = in_tune(rows.sample, self.folds.fold_seed, self.folds.tune_fraction)
            yield Rows(rows.sample[chosen], rows.label[chosen], rows.logits[chosen])


def repeated(fresh: LogitCache, seen: LogitCache) -> list[int]:
    """Return the ids of rows that are in both caches with equal logits."""
    known = {fingerprint for _, fingerprint in _fingerprints(seen)}
    return [number for number, fingerprint in _fingerprints(fresh) if fingerprint in known]


def _fingerprints(cache: LogitCache) -> Iterator[tuple[int, bytes]]:
    """Yield the id and a hash of each row, of its id and its logits as float64, in which −0 is 0."""
    for rows in cache.read():
        for number, logits in zip(rows.sample.tolist(), rows.logits.astype(np.float64) + 0.0, strict=True):
            yield number, hashlib.blake2b(f"{number}:".encode() + logits.tobytes(), digest_size=16).digest()
