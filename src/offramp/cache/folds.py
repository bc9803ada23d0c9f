"""The two folds of the validation split: `tune` shapes candidates, `certify` tests them.

A row's fold depends on its sample id and `calibrate.fold_seed` alone, never on its place, its content or its label, so
that given the tune rows the certify rows are still independent draws. The two types keep them apart: what shapes a
chain takes `Tune`, what tests it takes `Certify`, and only `deal` makes them.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray


def in_tune(sample: NDArray[np.int64], tune_fraction: float, fold_seed: int) -> NDArray[np.bool_]:
    """Return which sample ids (samples,) are in the tune fold: the contract's rule.

    The first 8 bytes of sha256(f"{fold_seed}:{sample}"), big-endian, / 2^64 are below `tune_fraction`.
    """
    limit = tune_fraction * 2**64
    prefix = f"{fold_seed}:".encode()
    hashes = (hashlib.sha256(prefix + str(number).encode()).digest()[:8] for number in sample.tolist())
    return np.fromiter((int.from_bytes(value, "big") < limit for value in hashes), np.bool_, len(sample))


def digest(sample: NDArray[np.int64]) -> str:
    """Return the SHA-256 of a fold's sample ids, ascending, as 8-byte big-endian integers: rows, not their order."""
    return hashlib.sha256(np.sort(sample).astype(">i8").tobytes()).hexdigest()
