"""The scores by name. Everything that others need to know of a score stands in its record, which is registered once.

A score is a formula of one exit's logits, or has parameters that are fitted on tune rows. A new one is a module that
calls `register`; parameters, commands, calibration, figures and export read the record.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


class GraphBuilder(Protocol):
    """Appends nodes to an ONNX graph; every method returns the name of the tensor that it adds."""

    def node(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str: ...

    def number(self, value: float) -> str:
        """Add a constant, float64."""
        ...

    def indices(self, *values: int) -> str:
        """Add a constant, int64 (values,)."""
        ...

    def total(self, operator: str, values: str) -> str:
        """Reduce over the classes: (samples, classes) -> (samples,)."""
        ...


class ExitTensors(NamedTuple):
    """Names of what an ONNX graph knows at exit `exit`, from 0, in float64."""

    exit: int
    scaled: str  # (samples, classes): logits over the temperature
    largest: str  # (samples, 1)
    label: str  # (samples, 1), int64: the class of the largest, the first of equals


class Fitted(Protocol):
    """The parameters of a score that is fitted."""

    def at_exit(self, k: int, logits: Floats) -> Floats:
        """Return uncertainties (samples,) at exit `k`, from 0, of its scaled logits (samples, classes).

        A score that compares exits takes the logits of all exits up to `k`, (samples, k + 1, classes).
        """
        ...

    def of_cache(self, logits: Floats) -> Floats:
        """Return uncertainties (samples, exits) of scaled logits (samples, exits, classes)."""
        ...

    def fits(self, n_exits: int, n_classes: int) -> bool:
        """Return whether the parameters are for logits of these sizes."""
        ...

    def to_json(self, exits: Sequence[str]) -> dict[str, Any]:
        """Return `score_arguments` of policies.json."""
        ...


class TuneRows(Protocol):
    """The tune rows of a validation cache, as a fit may read them."""

    @property
    def source(self) -> str:
        """Return the path of the cache, for messages."""
        ...

    @property
    def n_exits(self) -> int: ...

    @property
    def statistic(self) -> str:
        """Return `uncertainty.statistic`."""
        ...

    def batches(self) -> Iterator[tuple[Labels, Floats]]:
        """Yield labels (rows,) and logits (rows, exits, classes) of all tune rows."""
        ...

    def some(self) -> tuple[Labels, Floats]:
        """Return labels and scaled logits of tune rows, at most as many as a fit needs, in memory."""
        ...


def alone(uncertainty: Floats) -> Floats:
    """Return uncertainties (samples,) as the one regressor, (samples, 1)."""
    return uncertainty[:, None]


@dataclass(frozen=True)
class Score:
    """One score: low = confident. It has a `formula`, or is fitted: then `fit`, `from_json` and `placeholder` are set.

    `placeholder` makes parameters for (exits, classes) that say nothing but take as long. A logistic regression on
    `regressors` estimates from a score how likely an answer is wrong; a score that `is_log_odds` of a changed answer
    needs none. `limits` is the range of a bounded score for a number of classes. Without a `graph` an exported network
    gives logits, and NumPy computes the score from these.
    """

    name: str
    axis: str  # label of an axis, with the unit
    formula: Callable[[Floats], Floats] | None = None  # scaled logits (…, classes) -> (…)
    fit: Callable[[TuneRows], Fitted] | None = None
    from_json: Callable[[Mapping[str, Any], Sequence[str]], Fitted] | None = None
    placeholder: Callable[[int, int], Fitted] | None = None
    takes_temperature: bool = True
    compares_exits: bool = False  # needs the heads of all earlier exits, and has no value at the last one
    is_log_odds: bool = False
    regressors: Callable[[Floats], Floats] = alone  # (samples,) -> (samples, regressors)
    limits: Callable[[int], tuple[float, float]] | None = None
    graph: Callable[[GraphBuilder, ExitTensors, Fitted | None], str] | None = None

    def __post_init__(self) -> None:
        fitted = [part is not None for part in (self.fit, self.from_json, self.placeholder)]
        if any(fitted) != all(fitted) or any(fitted) == (self.formula is not None):
            raise ValueError(f"score {self.name!r} needs a formula, or fit, from_json and placeholder")

    @property
    def fitted(self) -> bool:
        return self.fit is not None


SCORES: dict[str, Score] = {}


def register(score: Score) -> Score:
    """Add a score. Raises ValueError for a name that is taken."""
    if score.name in SCORES:
        raise ValueError(f"there is a score {score.name!r} already")
    SCORES[score.name] = score
    return score


def score_named(name: str) -> Score:
    """Return the record of a score. Raises ValueError for an unknown name, listing the known ones."""
    if name not in SCORES:
        raise ValueError(f"the score {name!r} is unknown; known: {', '.join(sorted(SCORES))}")
    return SCORES[name]
