"""Temperature scaling: one number per exit that divides its logits, so that its probabilities mean what they say.

Fitted on labelled rows of the tune fold and on no others.
Reference: Guo et al. (2017), On calibration of modern neural networks, ICML.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import softmax

Floats = NDArray[np.float64]
COLDEST, HOTTEST = 0.02, 50.0  # an exit that is always right (or at chance) on the rows would have 0 (or infinity)


def fit_temperature(logits: Floats, label: NDArray[np.int64]) -> float:
    """Return the temperature with the least negative log-likelihood for logits (samples, classes); 1.0 for no rows.

    The likelihood is convex in 1 / temperature; its slope, the mean expected logit less the mean logit of the label,
    crosses 0 once. Where it does not within [COLDEST, HOTTEST], the nearer end.
    """
    if len(label) == 0:
        return 1.0
    logits = logits - logits.max(axis=1, keepdims=True)
    of_label = logits[np.arange(len(label)), label].mean()

    def slope(inverse: float) -> float:
        expected = (softmax(inverse * logits, axis=1) * logits).sum(axis=1).mean()
        return float(expected - of_label)

    if slope(1 / HOTTEST) >= 0:
        return HOTTEST
    if slope(1 / COLDEST) <= 0:
        return COLDEST
    return float(1 / brentq(slope, 1 / HOTTEST, 1 / COLDEST, xtol=1e-14))


def fit_temperatures(logits: Floats, label: NDArray[np.int64]) -> list[float]:
    """Return every exit's temperature for logits (samples, exits, classes)."""
    return [fit_temperature(logits[:, k], label) for k in range(logits.shape[1])]
