"""From logits to uncertainties: a score, each exit's temperature, and what the score `change` has learnt.

Part of every policies.json, because thresholds mean nothing without it. `offramp.fitting` makes one from tune rows.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from offramp.change import Change
from offramp.costs import Costs
from offramp.uncertainty import SCORES

Floats = NDArray[np.float64]
CHANGE = "change"
BITS = 30
KNOWN = (*sorted(SCORES), CHANGE)


@dataclass(frozen=True)
class Scoring:
    """A `score`, each exit's `temperature` in the order of the exits and, for score `change` alone, its parameters."""

    score: str
    temperature: dict[str, float]
    change: Change | None = None

    @classmethod
    def plain(cls, score: str, exits: list[str]) -> Self:
        """Return a score at temperature 1."""
        return cls(score, dict.fromkeys(exits, 1.0))

    @property
    def exits(self) -> list[str]:
        return list(self.temperature)

    def __call__(self, logits: NDArray[np.floating]) -> Floats:
        """Return uncertainties (samples, exits) of logits (samples, exits, classes).

        They are rounded to 30 bits, nine digits: answers that are equally confident stay equal whatever the order of
        summation, and no cut falls between them. Raises ValueError for an unknown score.
        """
        scaled = logits.astype(np.float64) / self._temperatures[:, None]
        if self.change is not None:
            return rounded(self.change(scaled))
        return rounded(self._score(scaled))

    def at_exit(self, k: int, logits: NDArray[np.floating]) -> Floats:
        """Return the uncertainties (samples,) at exit `k`, counted from 0: a column of what calling it returns.

        `logits` are (samples, exits, classes) of which the last is exit `k`; score `change` needs all from the first.
        """
        if self.change is None:
            return rounded(self._score(logits[:, -1].astype(np.float64) / self._temperatures[k]))
        scaled = logits.astype(np.float64) / self._temperatures[: k + 1, None]
        return rounded(self.change.at_exit(k, scaled))

    @property
    def _temperatures(self) -> Floats:
        return np.array(list(self.temperature.values()))

    @property
    def _score(self) -> Callable[[Floats], Floats]:
        if self.score not in SCORES:
            raise ValueError(f"unknown uncertainty score {self.score!r}; known: {', '.join(sorted(SCORES))}")
        return SCORES[self.score]

    def costs(self, costs: Costs) -> Costs:
        """Return what exits cost under this score: `change` compares them, so earlier heads run although disabled."""
        return costs if self.change is None else replace(costs, every_head=True)


def rounded(values: Floats) -> Floats:
    """Return values to 30 significant bits: what should be equal is, in whatever order it was summed."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.rint(np.ldexp(mantissa, BITS)), exponent - BITS)
