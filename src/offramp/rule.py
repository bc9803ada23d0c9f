"""What every rule answers, and rule `threshold`; `offramp.rules` has the others and knows all of them by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rule:
    """Rule `threshold`, and what every other rule answers in its own way."""

    name: ClassVar[str] = "threshold"

    @classmethod
    def from_json(cls, arguments: Mapping[str, Any] | None) -> Self:
        """Return the rule with these `arguments` of policies.json. Raises ValueError for any that it does not take."""
        if arguments:
            raise ValueError(f"rule {cls.name!r} takes no arguments; got {', '.join(map(repr, arguments))}")
        return cls()

    @property
    def arguments(self) -> dict[str, Any]:
        """Return what `from_json` takes; empty where there is nothing to say."""
        return {}

    @property
    def words(self) -> str:
        """Return the rule for a reader, empty for `threshold`."""
        return ""

    @property
    def batch_size(self) -> int | None:
        """Return how many samples are decided together; None where each is for itself."""
        return None

    def check(self, side_thresholds: Sequence[float | None]) -> None:
        """Raise ValueError where the side exits' thresholds are not those that the arguments stand for."""

    def of_cache(self, uncertainty: Floats, sample: NDArray[np.int64]) -> Floats:
        """Return what is compared with the thresholds, (samples, exits) as `uncertainty`; ids `sample` (samples,)."""
        del sample
        return uncertainty

    def of_call(self, uncertainty: Floats) -> Floats:
        """Return what is compared live, at one exit, for the samples (left,) of one call of the runtime."""
        return uncertainty

    def called_with(self, batch_size: int) -> "Rule":
        """Return the rule as it decides live where every call has so many samples."""
        del batch_size
        return self

    def batches(self, sample: NDArray[np.int64]) -> NDArray[np.intp] | None:
        """Return the number of the batch that decided for each sample; None where each was for itself."""
        del sample
        return None


THRESHOLD = Rule()
