"""The one comparison: a sample leaves where its uncertainty is at most the threshold."""

import numpy as np
from numpy.typing import NDArray


def leaves(uncertainty: NDArray[np.float64], threshold: float | NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether samples leave at an enabled exit: where their uncertainty is at most its threshold."""
    return uncertainty <= threshold
