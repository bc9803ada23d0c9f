"""Uncertainty scores: one number per sample and exit from its logits; low = confident.

All are computed in float64 from logits divided by the exit's temperature, and written so that confident samples stay
apart: none saturates into ties.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def entropy(logits: Floats) -> Floats:
    """Return −Σ p ln p in nats (0 … ln classes) of p = softmax(logits) over the last axis.

    With z = logits − max and r = Σ exp(z) over all classes but the largest, it is ln(1 + r) − Σ p z: two terms that are
    never negative, so nothing cancels and an answer of probability 1 − 1e-30 still has an entropy of its own.
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)
    weights = np.exp(shifted)
    others = weights.copy()
    np.put_along_axis(others, logits.argmax(axis=-1)[..., None], 0.0, axis=-1)
    rest = others.sum(axis=-1)
    nats = np.log1p(rest) - (weights * shifted).sum(axis=-1) / (1 + rest)
    return np.minimum(nats, np.log(logits.shape[-1]))  # a uniform answer may round one bit above ln C


SCORES: dict[str, Callable[[Floats], Floats]] = {"entropy": entropy}


def uncertainty(logits: NDArray[np.floating], score: str, temperature: NDArray[np.float64]) -> Floats:
    """Return the `score` of logits (samples, exits, classes) at each exit's temperature (exits,): (samples, exits).

    Raises ValueError for an unknown score.
    """
    if score not in SCORES:
        raise ValueError(f"unknown uncertainty score {score!r}; known: {', '.join(sorted(SCORES))}")
    return SCORES[score](logits.astype(np.float64) / temperature[:, None])
