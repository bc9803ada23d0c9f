"""The exit rule `activation`: the largest absolute logit M of an exit against β·T, T what is usual at that exit.

As an uncertainty it is −M/T, so that "at most −β" says M/(βT) ≥ 1 and β is a threshold like any other. T is estimated
on tune rows, one number per exit; all four statistics come from one pass and depend on no order of rows.

T of `signed_mean` rests on the mean logit, which cross-entropy does not determine: a constant added to all logits of an
answer changes T and not the answer's probabilities. Where T is 0, or tiny, every sample leaves.

Reference: Li et al. (2023), Predictive Exit, AAAI 37, and its released code.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from offramp.project.errors import InputError
from offramp.scores.registry import ExitTensors, Fitted, Floats, GraphBuilder, Score, TuneRows, register

ACTIVATION = "activation"
LARGEST = 1e100  # of a threshold in a file
STATISTICS = ("signed_mean", "mean_abs", "mean_max", "winning_correct")
LARGEST_RATIO = 1e12  # of M to T; beyond it answers are ties, and an exit with T = 0 fires for every β up to it


@dataclass(frozen=True)
class Activation:
    """The score: each exit's T, (exits,), the final classifier's among them; none negative.

    `faithful_first_exit` repeats a slip of the released code: at exit_1 alone, −M·T stands for −M/T.
    """

    thresholds: tuple[float, ...]
    faithful_first_exit: bool = False
    statistic: str = "mean_max"  # that T was estimated by

    def __post_init__(self) -> None:
        if not self.thresholds or not all(0 <= value < np.inf for value in self.thresholds):
            raise ValueError(f"activation thresholds must be finite, none negative; got {list(self.thresholds)!r:.80}")

    @classmethod
    def from_json(cls, content: Mapping[str, Any], exits: Sequence[str]) -> Self:
        """Return the score with these `score_arguments` of policies.json. Raises ValueError where they are wrong."""
        if set(content) != {"statistic", "thresholds"} or content["statistic"] not in STATISTICS:
            raise ValueError(
                f"score_arguments of 'activation' must be a statistic, one of {', '.join(STATISTICS)}, and thresholds"
            )
        given = content["thresholds"]
        if not isinstance(given, Mapping) or list(given) != list(exits):
            raise ValueError(f"thresholds of score 'activation' must name {', '.join(exits):.200} in order")
        for name, value in given.items():
            if type(value) not in (int, float) or not 0 <= value <= LARGEST:
                raise ValueError(f"activation threshold of {name} must be a finite number from 0; got {value!r:.60}")
        return cls(tuple(float(value) for value in given.values()), statistic=content["statistic"])

    def to_json(self, exits: Sequence[str]) -> dict[str, Any]:
        """Return what `from_json` takes."""
        assert not self.faithful_first_exit, "a slip that is repeated for comparison is not deployed"
        return {"statistic": self.statistic, "thresholds": dict(zip(exits, self.thresholds, strict=True))}

    def of_cache(self, logits: Floats) -> Floats:
        """Return the uncertainties (samples, exits) of logits (samples, exits, classes)."""
        return np.stack([self.at_exit(k, logits[:, k]) for k in range(logits.shape[1])], axis=1)

    def at_exit(self, k: int, logits: Floats) -> Floats:
        """Return the uncertainties (samples,) at exit `k`, from 0, of its logits (samples, classes)."""
        return self.of_peaks(k, peaks(logits))

    def fits(self, n_exits: int, n_classes: int) -> bool:
        """Return whether there is a threshold for each exit."""
        del n_classes
        return len(self.thresholds) == n_exits

    def of_peaks(self, k: int, peak: Floats) -> Floats:
        """Return the uncertainties (samples,) at exit `k` where the largest absolute logits are `peak` (samples,).

        With T = 0, an answer of zeros fires as well: 0 ≥ β·0.
        """
        scale = self.thresholds[k]
        if k == 0 and self.faithful_first_exit:
            return -np.minimum(peak * scale, LARGEST_RATIO)
        return -ratio(peak, scale, LARGEST_RATIO)


def peaks(logits: Floats) -> Floats:
    """Return max |z| over the last axis, the classes."""
    return np.asarray(np.maximum(logits.max(axis=-1), -logits.min(axis=-1)))


def ratio(peak: Floats, scale: float | Floats, of_zeros: float) -> Floats:
    """Return peak / scale, at most LARGEST_RATIO, and `of_zeros` for 0/0; `peak` and `scale` are not negative."""
    scales = np.broadcast_to(np.asarray(scale, np.float64), peak.shape)
    result = np.where(peak > 0, LARGEST_RATIO, of_zeros)
    return np.divide(peak, scales, out=result, where=scales * LARGEST_RATIO > peak)


class ThresholdSums:
    """What the statistics are made of, summed over batches of rows."""

    def __init__(self, n_exits: int) -> None:
        self._rows = 0
        self._labelled = False
        self._sums = {name: np.zeros(n_exits) for name in (*STATISTICS, "winning")}
        self._correct = np.zeros(n_exits)
        self._classes = 1

    def add(self, logits: NDArray[np.floating], label: NDArray[np.int64]) -> None:
        """Take in logits (rows, exits, classes) and labels (rows,), negative where unknown."""
        z = logits.astype(np.float64)
        winning, correct = z.max(axis=2), z.argmax(axis=2) == label[:, None]
        self._rows += len(z)
        self._classes = z.shape[2]
        self._labelled |= bool((label >= 0).any())
        self._correct += correct.sum(axis=0)
        self._sums["signed_mean"] += z.sum(axis=(0, 2))
        self._sums["mean_abs"] += np.abs(z).sum(axis=(0, 2))
        self._sums["mean_max"] += peaks(z).sum(axis=0)
        self._sums["winning"] += winning.sum(axis=0)
        self._sums["winning_correct"] += np.where(correct, winning, 0.0).sum(axis=0)

    def thresholds(self, statistic: str) -> tuple[float, ...]:
        """Return T (exits,) by a statistic.

        `signed_mean`: |mean of all logits|, the paper's; `mean_abs`: mean of |z|; `mean_max`: mean of M;
        `winning_correct`: |mean of the largest logit where the answer is right|, of all rows at an exit that is never
        right. Raises InputError for an unknown statistic, without rows, or without labels where these are needed.
        """
        if statistic not in STATISTICS:
            raise InputError(f"unknown activation statistic {statistic!r}; known: {', '.join(sorted(STATISTICS))}")
        if self._rows == 0:
            raise InputError("activation thresholds need at least one row of the tune fold; raise tune_fraction")
        if statistic == "winning_correct" and not self._labelled:
            raise InputError("the activation statistic 'winning_correct' needs labelled tune rows; take 'mean_max'")
        return tuple(np.abs(self._mean(statistic)).tolist())

    def _mean(self, statistic: str) -> Floats:
        if statistic != "winning_correct":
            per_row = 1 if statistic == "mean_max" else self._classes
            return self._sums[statistic] / (self._rows * per_row)
        right = np.maximum(self._correct, 1)
        return np.where(self._correct > 0, self._sums[statistic] / right, self._sums["winning"] / self._rows)


def thresholds_of(
    n_exits: int, batches: Iterable[tuple[NDArray[Any], NDArray[np.int64]]], statistic: str
) -> tuple[float, ...]:
    """Return T (exits,) of batches of logits and labels, each seen once."""
    sums = ThresholdSums(n_exits)
    for logits, label in batches:
        sums.add(logits, label)
    return sums.thresholds(statistic)


def _fit(rows: TuneRows) -> Activation:
    batches = ((logits, label) for label, logits in rows.batches())
    return Activation(thresholds_of(rows.n_exits, batches, rows.statistic), statistic=rows.statistic)


def _placeholder(n_exits: int, n_classes: int) -> Activation:
    """Return thresholds of 1."""
    del n_classes
    return Activation((1.0,) * n_exits)


def _graph(build: GraphBuilder, at: ExitTensors, fitted: Fitted | None) -> str:
    """−M / T, at least −LARGEST_RATIO; see `Activation.of_peaks`."""
    assert isinstance(fitted, Activation), "the score has its thresholds"
    assert not fitted.faithful_first_exit, "a slip that is repeated for comparison is not deployed"
    scale = fitted.thresholds[at.exit]
    peak = build.total("ReduceMax", build.node("Abs", at.scaled))
    largest = build.number(LARGEST_RATIO)
    within = build.node("Less", peak, build.number(scale * LARGEST_RATIO))
    ratios = build.node("Div", peak, build.number(scale or 1.0))
    return build.node("Neg", build.node("Where", within, ratios, largest))


register(
    Score(
        ACTIVATION,
        "activation, −max |logit| / T (−β)",
        fit=_fit,
        from_json=Activation.from_json,
        placeholder=_placeholder,
        takes_temperature=False,
        graph=_graph,
    )
)
