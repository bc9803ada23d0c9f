"""From logits to uncertainties: a score, each exit's temperature, and what the scores `change` and `activation` learnt.

Part of every policies.json, because thresholds mean nothing without it. `offramp.fitting` makes one from tune rows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from offramp.change import Change
from offramp.costs import Costs
from offramp.predictive.activation import Activation
from offramp.uncertainty import SCORES

Floats = NDArray[np.float64]
CHANGE, ACTIVATION = "change", "activation"
BITS = 30
KNOWN = (*sorted(SCORES), CHANGE, ACTIVATION)


@dataclass(frozen=True)
class Scoring:
    """A `score`, each exit's `temperature` in the order of the exits and, for the score of that name, its parameters.

    Score `activation` has one number per exit of its own and takes no temperature.
    """

    score: str
    temperature: dict[str, float]
    change: Change | None = None
    activation: Activation | None = None

    @classmethod
    def plain(cls, score: str, exits: list[str]) -> Self:
        """Return a score at temperature 1."""
        return cls(score, dict.fromkeys(exits, 1.0))

    @classmethod
    def from_json(cls, score: str, temperature: Mapping[str, float], arguments: Mapping[str, Any] | None) -> Self:
        """Return the scoring of policies.json: `score`, `temperature` and `score_arguments`.

        Raises ValueError for an unknown score, arguments where none belong or none where they do, and wrong ones.
        """
        exits = list(temperature)
        if score not in KNOWN:
            raise ValueError(f"the score {score!r} is unknown; known: {', '.join(sorted(KNOWN))}")
        if (score in (CHANGE, ACTIVATION)) != (arguments is not None):
            raise ValueError(
                f"score_arguments belong to the scores {CHANGE!r} and {ACTIVATION!r} and to no other; "
                f"the score is {score!r}"
            )
        if score == ACTIVATION and any(value != 1 for value in temperature.values()):
            raise ValueError(f"score {ACTIVATION!r} takes no temperature: its thresholds do what that would")
        change = Change.from_json(arguments, exits) if score == CHANGE and arguments is not None else None
        activation = Activation.from_json(arguments, exits) if score == ACTIVATION and arguments is not None else None
        return cls(score, dict(temperature), change, activation)

    @property
    def exits(self) -> list[str]:
        return list(self.temperature)

    @property
    def arguments(self) -> dict[str, Any] | None:
        """Return `score_arguments` of policies.json; None where the score has none."""
        if self.activation is not None:
            return self.activation.to_json(self.exits)
        return None if self.change is None else self.change.to_json()

    def __call__(self, logits: NDArray[np.floating]) -> Floats:
        """Return uncertainties (samples, exits) of logits (samples, exits, classes).

        They are rounded to 30 bits, nine digits: answers that are equally confident stay equal whatever the order of
        summation, and no cut falls between them. Raises ValueError for an unknown score.
        """
        if self.activation is not None:
            exits = range(logits.shape[1])
            return np.stack([self.at_exit(k, logits[:, k : k + 1]) for k in exits], axis=1)
        scaled = logits.astype(np.float64) / self._temperatures[:, None]
        if self.change is not None:
            return rounded(self.change(scaled))
        return rounded(self._score(scaled))

    def at_exit(self, k: int, logits: NDArray[np.floating]) -> Floats:
        """Return the uncertainties (samples,) at exit `k`, counted from 0: a column of what calling it returns.

        `logits` are (samples, exits, classes) of which the last is exit `k`; score `change` needs all from the first.
        """
        if self.activation is not None:
            return rounded(self.activation.at_exit(k, logits[:, -1].astype(np.float64)))
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
