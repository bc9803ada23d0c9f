"""Scores that are a formula of one exit's probabilities; low = confident.

All take float64 logits (..., classes), divided by the exit's temperature, and are written so that confident samples
stay apart: none saturates into ties.
"""

import math

import numpy as np
from scipy.special import expit, log_expit, logsumexp

from offramp.scores.registry import ExitTensors, Fitted, Floats, GraphBuilder, Score, register


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


def _others(shifted: Floats) -> Floats:
    """Return the logits with the largest one of each answer (the first of equals) at −infinity."""
    others = shifted.copy()
    np.put_along_axis(others, shifted.argmax(axis=-1)[..., None], -np.inf, axis=-1)
    return others


TINY = 1e-300


def _entropy_regressors(uncertainty: Floats) -> Floats:
    return np.stack([uncertainty, np.log(np.maximum(uncertainty, TINY))], axis=1)


def _least_confidence_regressors(uncertainty: Floats) -> Floats:
    """Return 1 − p₁ and its logarithm, (samples, 2)."""
    return np.stack([expit(uncertainty), log_expit(uncertainty)], axis=1)


def _margin_regressors(uncertainty: Floats) -> Floats:
    """Return the ratio of the two largest probabilities and its logarithm, (samples, 2)."""
    return np.stack([np.exp(uncertainty), uncertainty], axis=1)


def _entropy_graph(build: GraphBuilder, at: ExitTensors, fitted: Fitted | None) -> str:
    """ln(1 + r) − Σ p z; ln(1 + r) is ln(w) + (r − (w − 1)) / w with w = 1 + r as rounded, exact for tiny r."""
    del fitted
    shifted = build.node("Sub", at.scaled, at.largest)
    weights = build.node("Exp", shifted)
    nothing = build.node("Sub", at.largest, at.largest)
    rest = build.total("ReduceSum", build.node("ScatterElements", weights, at.label, nothing, axis=1))
    spread = build.total("ReduceSum", build.node("Mul", weights, shifted))
    whole = build.node("Add", rest, build.number(1.0))
    lost = build.node("Sub", rest, build.node("Sub", whole, build.number(1.0)))  # by rounding 1 + rest
    return build.node("Add", build.node("Log", whole), build.node("Div", build.node("Sub", lost, spread), whole))


def _least_confidence_graph(build: GraphBuilder, at: ExitTensors, fitted: Fitted | None) -> str:
    del fitted
    nowhere = build.node("Sub", at.largest, build.number(np.inf))
    shifted = build.node("Sub", at.scaled, at.largest)
    others = build.node("ScatterElements", shifted, at.label, nowhere, axis=1)
    second = build.node("ReduceMax", others, build.indices(1), keepdims=1)
    rest = build.total("ReduceSum", build.node("Exp", build.node("Sub", others, second)))
    return build.node("Add", build.node("Squeeze", second, build.indices(1)), build.node("Log", rest))


def _margin_graph(build: GraphBuilder, at: ExitTensors, fitted: Fitted | None) -> str:
    del fitted
    nowhere = build.node("Sub", at.largest, build.number(np.inf))
    others = build.node("ScatterElements", at.scaled, at.label, nowhere, axis=1)
    return build.node("Sub", build.total("ReduceMax", others), build.node("Squeeze", at.largest, build.indices(1)))


def _energy_graph(build: GraphBuilder, at: ExitTensors, fitted: Fitted | None) -> str:
    del fitted
    return build.node("Neg", build.total("ReduceLogSumExp", at.scaled))


register(
    Score(
        "entropy",
        "entropy (nats)",
        entropy,
        regressors=_entropy_regressors,
        limits=lambda n_classes: (0.0, math.log(max(n_classes, 2))),
        graph=_entropy_graph,
    )
)
register(
    Score(
        "least_confidence",
        "log-odds of a wrong answer, ln(1 − p₁) − ln p₁",
        least_confidence,
        regressors=_least_confidence_regressors,
        graph=_least_confidence_graph,
    )
)
register(Score("margin", "margin, ln p₂ − ln p₁ (nats)", margin, regressors=_margin_regressors, graph=_margin_graph))
register(Score("energy", "energy, −ln Σ exp(logits)", energy, graph=_energy_graph))
