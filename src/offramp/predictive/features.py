"""What a learned forecast sees of one exit's logits: numbers that depend on no order of classes."""

import numpy as np
from scipy.special import log_softmax

from offramp.scoring import rounded
from offramp.uncertainty import Floats, entropy, least_confidence

TOP = 3


def predictors(logits: Floats, uncertainty: Floats) -> Floats:
    """Return predictors (samples, …) of logits (samples, classes) and the exit rule's own uncertainty (samples,).

    The largest TOP log-probabilities, descending, log-odds that the answer is not it, entropy, and the uncertainty.
    Computed from sorted logits: a permutation of the classes changes no bit. All but the uncertainty depend on
    probabilities alone; it does where the score does, and is here because it is what the rule will compare next.
    """
    ordered = np.sort(logits, axis=1)[:, ::-1]
    top = log_softmax(ordered, axis=1)[:, :TOP]
    columns = [top, least_confidence(ordered)[:, None], entropy(ordered)[:, None], uncertainty[:, None]]
    return rounded(np.concatenate(columns, axis=1))


def n_predictors(n_classes: int) -> int:
    return min(TOP, n_classes) + 3
