"""Uncertainty scores: one number per sample and exit from its logits; low = confident.

All take float64 logits (..., classes), divided by the exit's temperature, and are written so that confident samples
stay apart: none saturates into ties.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

Floats = NDArray[np.float64]


def entropy(logits: Floats) -> Floats:
    """Return −Σ p ln p in nats (0 … ln classes) of p = softmax(logits) over the last axis.

    With z = logits − max and r = Σ exp(z) over all classes but the largest, it is ln(1 + r) − Σ p z: two terms that are
    never negative, so nothing cancels and an answer of probability 1 − 1e-30 still has an entropy of its own.
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)
    weights = np.exp(shifted)
    rest = np.exp(_others(shifted)).sum(axis=-1)
    nats = np.log1p(rest) - (weights * shifted).sum(axis=-1) / (1 + rest)
    return np.minimum(nats, np.log(logits.shape[-1]))  # a uniform answer may round one bit above ln C


def least_confidence(logits: Floats) -> Floats:
    """Return ln(1 − p₁) − ln p₁, p₁ the largest probability: the log-odds that the answer is not it; at most ln(C − 1).

    With the logits shifted by their largest one it is the logarithm of the other classes' sum of exponentials.
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(logsumexp(_others(shifted), axis=-1))


def margin(logits: Floats) -> Floats:
    """Return ln p₂ − ln p₁, the second largest log-probability minus the largest; at most 0."""
    two = np.partition(logits, logits.shape[-1] - 2, axis=-1)[..., -2:]
    return two[..., 0] - two[..., 1]


def energy(logits: Floats) -> Floats:
    """Return −ln Σ exp(logits). Unlike the other scores it depends on the logits' common level.

    Reference: Liu et al. (2020), Energy-based out-of-distribution detection, NeurIPS.
    """
    return -np.asarray(logsumexp(logits, axis=-1))


SCORES: dict[str, Callable[[Floats], Floats]] = {
    "entropy": entropy,
    "least_confidence": least_confidence,
    "margin": margin,
    "energy": energy,
}


def _others(shifted: Floats) -> Floats:
    """Return the logits with the largest one of each answer (the first of equals) at −infinity."""
    others = shifted.copy()
    np.put_along_axis(others, shifted.argmax(axis=-1)[..., None], -np.inf, axis=-1)
    return others
