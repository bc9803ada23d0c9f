"""The prediction engine: logits of one exit, smoothed again and again over the class axis, until they would fire.

With K the tridiagonal matrix of ones (a kernel [1, 1, 1] over the classes, zeros beside them) the forecast at exit l is

    k̂ = the smallest k in 1…R with max_c |(Kᵏ z)_c| > β · T[l + k], else R,

T taken at the last side exit where l + k is beyond it. Nothing in it is fitted. `powers` holds the left-hand side and
knows nothing of β and T; `growth` divides by T and keeps running maxima, so that a forecast for any β is a count.

All in float64: sums of up to 3^R terms of float32 logits keep their order, and comparisons are made on 30 bits, so that
one sample alone and the same sample among thousands are forecast alike.

Reference: Li et al. (2023), Predictive Exit, released code; the horizon R is 8 there, 5 for VGG on STL-10.
"""

import numpy as np
from numpy.typing import NDArray

from offramp.scores.activation import peaks, ratio
from offramp.scores.registry import Floats
from offramp.scores.scoring import rounded

HORIZON = 8
LARGEST_HORIZON = 64  # in params.yaml and in policies.json


def powers(logits: NDArray[np.floating], horizon: int = HORIZON) -> Floats:
    """Return A[…, k] = max_c |(Kᵏ z)_c| for k = 0…horizon, (…, horizon + 1), of logits (…, classes)."""
    if horizon < 1:
        raise ValueError(f"horizon must be at least 1; got {horizon}")
    z = logits.astype(np.float64)
    found = np.empty((*z.shape[:-1], horizon + 1))
    found[..., 0] = peaks(z)
    for k in range(1, horizon + 1):
        z = smoothed(z)
        found[..., k] = peaks(z)
    return found


def smoothed(logits: Floats) -> Floats:
    """Return K z: every class plus its neighbours, over the last axis."""
    result = logits.copy()
    result[..., 1:] += logits[..., :-1]
    result[..., :-1] += logits[..., 1:]
    return result


def growth(powers_at: Floats, thresholds: tuple[float, ...], exit_number: int) -> Floats:
    """Return the running maxima over k = 1…R of A[k] / T[exit + k], (samples, R), at one exit, from 0.

    `powers_at` (samples, R + 1) are its `powers`, `thresholds` (exits,) every exit's T, the final classifier's last;
    that one is never used. Where T is 0 any A above 0 fires, and zeros never do: 0 > β·0 is false.
    """
    horizon = powers_at.shape[1] - 1
    last_side = len(thresholds) - 2
    at = np.minimum(exit_number + np.arange(1, horizon + 1), last_side)
    ratios = ratio(powers_at[:, 1:], np.asarray(thresholds)[at], 0.0)
    return np.maximum.accumulate(rounded(ratios), axis=1)


def jumps(grown: Floats, beta: float, horizon: int = HORIZON) -> NDArray[np.intp]:
    """Return k̂ (samples,), from 1 to `horizon`, of `growth` (samples, at least horizon).

    The first k that exceeds β stands after as many that do not; the last round decides nothing. It never falls as β
    grows.
    """
    if grown.shape[1] < horizon:
        raise ValueError(f"the engine was run for {grown.shape[1]} rounds; a horizon of {horizon} needs as many")
    return np.asarray(1 + (grown[:, : horizon - 1] <= beta).sum(axis=1), np.intp)


def engine_macs(n_classes: int, horizon: int) -> int:
    """Return what one forecast costs: 2 additions per class and round, each counted as a MAC so that none is free.

    An upper bound: every round is run, the zeros at the border are added. Comparisons count 0, as in a score.
    """
    return 2 * n_classes * horizon
