"""Uncertainties from logits, written again from their definitions; low = confident.

Logits are float64, divided by the exit's temperature, (samples, classes) of one exit; p = softmax.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from offramp.recheck.schema import ActivationArguments, ChangeWeights

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
BITS = 30
CAP = 1e12  # of M/T
TOP = 3  # log-probabilities that the score `change` looks at


def uncertainties(
    logits: Floats,
    name: str,
    change: Mapping[str, ChangeWeights] | None,
    activation: ActivationArguments | None = None,
) -> Floats:
    """Return uncertainties (samples, exits) of scaled logits (samples, exits, classes); nobody asks the last exit's."""
    values = np.zeros(logits.shape[:2])
    if activation is not None:  # −M/T, up to CAP; so also where T is 0
        peak = np.abs(logits).max(axis=2)
        for k, scale in enumerate(activation.thresholds.values()):
            small = scale * CAP > peak[:, k]
            values[:, k] = -np.where(small, peak[:, k] / (scale if scale > 0 else 1.0), CAP)
        return rounded(values)
    if change is None:
        for k in range(logits.shape[1]):
            values[:, k] = SCORES[name](logits[:, k])
        return rounded(values)
    for k, stated in enumerate(change.values()):
        values[:, k] = change_predictors(logits, k) @ np.array(stated.weights) + stated.intercept
    return rounded(values)


def rounded(values: Floats) -> Floats:
    """Return values to BITS significant bits: what should be equal is, in whatever order it was summed."""
    mantissa, exponent = np.frexp(values)
    return np.asarray(np.ldexp(np.rint(np.ldexp(mantissa, BITS)), exponent - BITS))


def entropy(logits: Floats) -> Floats:
    """Return −Σ p ln p. With gaps g = max − z and R = Σ exp(−g) of the other classes: ln(1 + R) + Σ p g."""
    gap = logits.max(axis=1, keepdims=True) - logits
    others = without_answer(np.exp(-gap))
    total = others.sum(axis=1)
    nats = np.log1p(total) + (others * gap).sum(axis=1) / (1 + total)
    return np.minimum(nats, np.log(logits.shape[1]))


def least_confidence(logits: Floats) -> Floats:
    """Return ln(1 − p₁) − ln p₁, which is ln Σ exp(z − max) over the classes that are not the answer."""
    gap = logits.max(axis=1, keepdims=True) - logits
    gap[np.arange(len(gap)), logits.argmax(axis=1)] = np.inf
    nearest = gap.min(axis=1, keepdims=True)  # taken out, so that a sum of tiny numbers does not become 0
    return np.log(np.exp(nearest - gap).sum(axis=1)) - nearest[:, 0]


def margin(logits: Floats) -> Floats:
    """Return ln p₂ − ln p₁."""
    ascending = np.sort(logits, axis=1)
    return ascending[:, -2] - ascending[:, -1]


def energy(logits: Floats) -> Floats:
    """Return −ln Σ exp(z)."""
    highest = logits.max(axis=1)
    return -(np.log(np.exp(logits - highest[:, None]).sum(axis=1)) + highest)


SCORES = {"entropy": entropy, "least_confidence": least_confidence, "margin": margin, "energy": energy}


def n_change_predictors(k: int, n_classes: int) -> int:
    return min(TOP, n_classes) + 2 + (3 if k > 0 else 0)


def change_predictors(logits: Floats, k: int) -> Floats:
    """Return what the score `change` sees at side exit k (from 0) of (samples, exits, classes): (samples, predictors).

    The exit's largest log-probabilities, ln(1 − the largest) and entropy; then, from the second exit on, of the exit's
    answer: ln of its mean probability up to here, the share of earlier exits that gave it, ln of its probability one
    exit before.
    """
    here, rows = logits[:, k], np.arange(len(logits))
    log_p = log_softmax(here)
    largest = -np.sort(-log_p, axis=1)[:, :TOP]
    odds = least_confidence(here)
    columns = [*largest.T, odds - np.logaddexp(0, odds), entropy(here)]  # ln(1 − p₁) from its log-odds
    if k > 0:
        answer = here.argmax(axis=1)
        until_here = [log_softmax(logits[:, j])[rows, answer] for j in range(k + 1)]
        earlier = [logits[:, j].argmax(axis=1) == answer for j in range(k)]
        columns += [np.log(np.mean(np.exp(until_here), axis=0)), np.mean(earlier, axis=0), until_here[k - 1]]
    return np.stack(columns, axis=1)


def powers(logits: Floats, horizon: int) -> Floats:
    """Return max |z| over the classes, (samples, exits, horizon + 1), of z and of z times a tridiagonal matrix of ones,
    again and again.
    """
    n_classes = logits.shape[2]
    near = np.abs(np.subtract.outer(np.arange(n_classes), np.arange(n_classes))) <= 1
    found, z = [np.abs(logits).max(axis=2)], logits
    for _ in range(horizon):
        z = z @ near.astype(np.float64)
        found.append(np.abs(z).max(axis=2))
    return np.stack(found, axis=2)


def n_route_predictors(n_classes: int) -> int:
    return min(TOP, n_classes) + 3


def route_predictors(logits: Floats, uncertainty: Floats) -> Floats:
    """Return what a learned route sees of every exit's logits, (samples, exits, predictors).

    The largest log-probabilities, ln(1 − p₁) − ln p₁, entropy, and the uncertainty.
    """
    found = []
    for k in range(logits.shape[1]):
        ordered = -np.sort(-logits[:, k], axis=1)  # so that the order of classes changes no bit
        columns = [*log_softmax(ordered)[:, :TOP].T, least_confidence(ordered), entropy(ordered), uncertainty[:, k]]
        found.append(rounded(np.stack(columns, axis=1)))
    return np.stack(found, axis=1)


def log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def without_answer(values: Floats) -> Floats:
    """Return values (samples, classes) with 0 at the first largest of each row."""
    others = values.copy()
    others[np.arange(len(values)), values.argmax(axis=1)] = 0
    return others
