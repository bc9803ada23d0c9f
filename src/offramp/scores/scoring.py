"""From logits to uncertainties: a score, each exit's temperature, and the parameters of a score that is fitted.

Part of every policies.json, because thresholds mean nothing without it. `scores.fitting` makes one from tune rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from offramp.scores.activation import Activation
from offramp.scores.registry import SCORES, Fitted, Floats, Score, score_named

BITS = 30


@dataclass(frozen=True)
class Scoring:
    """A `score`, each exit's `temperature` in the order of the exits and, if the score is fitted, its parameters."""

    score: str
    temperature: dict[str, float]
    fitted: Fitted | None = None

    @classmethod
    def plain(cls, score: str, exits: list[str]) -> Self:
        """Return a score at temperature 1."""
        return cls(score, dict.fromkeys(exits, 1.0))

    @classmethod
    def from_json(cls, score: str, temperature: Mapping[str, float], arguments: Mapping[str, Any] | None) -> Self:
        """Return the scoring of policies.json: `score`, `temperature` and `score_arguments`.

        Raises ValueError for an unknown score, arguments where none belong or none where they do, and wrong ones.
        """
        record = score_named(score)
        if record.fitted != (arguments is not None):
            fitted = " and ".join(repr(name) for name, each in SCORES.items() if each.fitted)
            raise ValueError(f"score_arguments belong to the scores {fitted} and to no other; the score is {score!r}")
        if not record.takes_temperature and any(value != 1 for value in temperature.values()):
            raise ValueError(f"score {score!r} takes no temperature: its own numbers do what that would")
        if record.from_json is None or arguments is None:
            return cls(score, dict(temperature))
        return cls(score, dict(temperature), record.from_json(arguments, list(temperature)))

    @property
    def record(self) -> Score:
        """Return all that is known of the score. Raises ValueError for an unknown one."""
        return score_named(self.score)

    @property
    def compares_exits(self) -> bool:
        """Return whether the score needs the heads of all earlier exits."""
        return self.record.compares_exits

    @property
    def activation(self) -> Activation | None:
        """Return the thresholds of score `activation`; None under any other."""
        return self.fitted if isinstance(self.fitted, Activation) else None

    def fits(self, n_exits: int, n_classes: int) -> bool:
        """Return whether fitted parameters, if there are any, are for logits of these sizes."""
        return self.fitted is None or self.fitted.fits(n_exits, n_classes)

    @property
    def exits(self) -> list[str]:
        return list(self.temperature)

    @property
    def arguments(self) -> dict[str, Any] | None:
        """Return `score_arguments` of policies.json; None where the score has none."""
        return None if self.fitted is None else self.fitted.to_json(self.exits)

    def __call__(self, logits: NDArray[np.floating]) -> Floats:
        """Return uncertainties (samples, exits) of logits (samples, exits, classes).

        They are rounded to 30 bits, nine digits: answers that are equally confident stay equal whatever the order of
        summation, and no cut falls between them. Raises ValueError for an unknown score.
        """
        formula, scaled = self.record.formula, logits.astype(np.float64) / self._temperatures[:, None]
        if formula is not None:
            return rounded(formula(scaled))
        assert self.fitted is not None, f"score {self.score!r} was not fitted"
        return rounded(self.fitted.of_cache(scaled))

    def at_exit(self, k: int, logits: NDArray[np.floating]) -> Floats:
        """Return the uncertainties (samples,) at exit `k`, counted from 0: a column of what calling it returns.

        `logits` are (samples, exits, classes) of which the last is exit `k`; a score that compares exits needs all from
        the first.
        """
        record = self.record
        if record.compares_exits and self.fitted is not None:
            return rounded(self.fitted.at_exit(k, logits.astype(np.float64) / self._temperatures[: k + 1, None]))
        scaled = logits[:, -1].astype(np.float64) / self._temperatures[k]
        if record.formula is not None:
            return rounded(record.formula(scaled))
        assert self.fitted is not None, f"score {self.score!r} was not fitted"
        return rounded(self.fitted.at_exit(k, scaled))

    @property
    def _temperatures(self) -> Floats:
        return np.array(list(self.temperature.values()))


def rounded(values: Floats) -> Floats:
    """Return values to 30 significant bits: what should be equal is, in whatever order it was summed."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.rint(np.ldexp(mantissa, BITS)), exponent - BITS)
