"""Faults to plant in the shipped code: a check of certificates is worth something if it fails with these.

Each context manager replaces one function or property of the library and puts it back. The tests named as p-values are
published or tempting ones that are not valid for a signed loss at its boundary.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from scipy.special import bdtr, ndtr, ndtri

from experiments.certificates.harness import DELTA
from offramp.calibration.certificates import claims
from offramp.calibration.certificates.sequence import TestSequence
from offramp.calibration.problem import Problem
from offramp.policies.policy import Policy
from offramp.statistics.exact_tests import p_value, score_statistic


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Replace an attribute of a module or class for as long as the block runs."""
    kept = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, kept)


def hoeffding_bentkus(n: int, damaged: int, rescued: int, max_loss: float, *_: object) -> float:
    """Return the Hoeffding–Bentkus p-value of the mean of D, which holds for losses in [0, 1] and D is in [−1, 1].

    Reference: the p-value is Bates et al. (2021), JACM 68(6), section 3.1.
    """
    risk = max(0.0, (damaged - rescued) / n)
    low = min(risk, max_loss)
    relative = (low * math.log(low / max_loss) if low else 0.0) + (1 - low) * math.log((1 - low) / (1 - max_loss))
    return float(min(math.exp(-n * relative), math.e * bdtr(math.ceil(max(0, damaged - rescued)), n, max_loss)))


def normal(n: int, damaged: int, rescued: int, max_loss: float, *_: object) -> float:
    """Return the p-value of a t-like test: (mean of D − max_loss) over its estimated error, taken as normal."""
    mean = (damaged - rescued) / n
    error = math.sqrt(max(0.0, (damaged + rescued) / n - mean * mean) / n)
    return float(ndtr((mean - max_loss) / error)) if error else float(mean >= max_loss)


def one_standard_error(n: int, damaged: int, rescued: int, max_loss: float, *_: object) -> float:
    """Return a p-value that is DELTA where the score statistic is −1.0, not −1.28."""
    return float(ndtr(-ndtri(DELTA) * score_statistic(damaged - rescued, damaged + rescued, n, max_loss)))


def overstated_rows(
    n: int, damaged: int, rescued: int, max_loss: float, order: str = "score", gamma: float = 1e-4
) -> float:
    """Return the shipped p-value for 10 % more rows than there are."""
    return p_value(round(1.1 * n), damaged, rescued, max_loss, order, gamma)


def _first_failure(sequence: TestSequence) -> Policy | None:
    """Return the policy at which the sequence stopped, one too far."""
    return sequence.steps[min(sequence.rejected, len(sequence.steps) - 1)].policy if sequence.steps else None


def _p_value(fault: Callable[..., float]) -> Callable[[], AbstractContextManager[None]]:
    return lambda: replaced(claims, "p_value", fault)


FAULTS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "Hoeffding-Bentkus on signed losses": _p_value(hoeffding_bentkus),
    "normal approximation": _p_value(normal),
    "one standard error": _p_value(one_standard_error),
    "rows overstated by 10 %": _p_value(overstated_rows),
    "first failure returned": lambda: replaced(TestSequence, "last_rejected", property(_first_failure)),
}


def delta_not_split() -> AbstractContextManager[None]:
    """Give every certificate the whole delta although all are to hold together."""
    return replaced(Problem, "level", property(lambda problem: problem.settings.delta))
