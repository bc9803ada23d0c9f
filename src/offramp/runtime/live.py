"""The runtime: a policy applied to images, live; samples leave and the rest goes on.

Where a sample leaves is decided by the code that replay uses: `Scoring` computes what the graphs do not, the policy's
rule says whose uncertainty counts, and `policies.leaves` compares. After an exit that somebody took, only the rows that
stayed go on. Under rule `batch`, a batch is what the runtime is called with, whatever size policies.json states.
"""

import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.policies.policy import Policy
from offramp.policies.rules import Rule, leaves
from offramp.runtime.engines.pieces import Engine, Output, Step, pieces
from offramp.scores.scoring import Scoring

if TYPE_CHECKING:
    from torch import Tensor


Images = NDArray[np.uint8]  # (samples, height, width, channels)


_UNKNOWN = np.array([np.nan])


class StepTime(NamedTuple):
    """How long one step took for how many samples, the bookkeeping after it included."""

    exit: int
    samples: int
    nanoseconds: int


class Answers(NamedTuple):
    """Per sample, in the order given: its label, the exit it took (from 0) and the uncertainty there, each (samples,).

    The uncertainty is the sample's own, also where its batch decided; NaN at the last exit unless the runtime was told
    to report it. `visited` (samples, exits) says whose heads ran; None where the thresholds say it.
    """

    label: NDArray[np.int64]
    exit: NDArray[np.intp]
    uncertainty: NDArray[np.float64]
    steps: list[StepTime]
    visited: NDArray[np.bool_] | None = None


class _Stage(NamedTuple):
    """A step and who leaves after it; `threshold` None: everyone who is left."""

    exit: int
    step: Step
    threshold: float | None
    judged: bool


class Runtime:
    """A policy on an engine: call it with one batch of images at a time."""

    def __init__(self, engine: Engine, policy: Policy, report_last: bool = False) -> None:
        """Prepare the steps of a policy. Raises ValueError for one without a scoring.

        `report_last` also computes the uncertainty of samples that reach the last exit, which no decision needs.
        """
        scoring, thresholds = policy.require_scoring(), policy.thresholds
        self._rule, self._scoring = policy.rule, scoring
        self._one_at_a_time = threading.Lock()  # steps write into arrays of their own
        self._stages = []
        for piece in pieces(policy.enabled, scoring.compares_exits):
            judged = piece.features or report_last
            step = engine.step(piece, scoring if judged else None)
            self._stages.append(_Stage(piece.end, step, thresholds[piece.end] if piece.features else None, judged))

    def __call__(self, images: "Images | Tensor", keys: NDArray[np.int64] | None = None) -> Answers:
        """Return the answers of uint8 images (samples, height, width, channels) or of a torch tensor of such.

        An empty batch has none. The engine `torch` also takes float tensors, channels second, as the network expects
        them. `keys` are for `live_routes`; nothing here depends on them. Calls from several threads wait
        for each other. Raises ValueError for an array of another type or shape.
        """
        del keys
        require_images(images)
        with self._one_at_a_time:
            return self._answer_one(images) if len(images) == 1 else self._answer(images)

    def _answer_one(self, images: Any) -> Answers:
        """Answer a batch of one, where the bookkeeping of a pool would cost as much as half a head.

        Under every rule, a sample alone is decided by its own uncertainty.
        """
        features, seen, steps = images, _Seen(self._scoring), list[StepTime]()
        clock = time.perf_counter_ns()
        for stage in self._stages:
            output = stage.step(features)
            uncertainty = seen.judge(stage.exit, output) if stage.judged else _UNKNOWN
            out = stage.threshold is None or leaves(uncertainty, stage.threshold)[0]
            now = time.perf_counter_ns()
            steps.append(StepTime(stage.exit, 1, now - clock))
            if out:
                break
            clock, features = now, output.features
        return Answers(output.label.copy(), np.array([stage.exit]), uncertainty.copy(), steps)

    def _answer(self, images: Any) -> Answers:
        pool = _Pool(len(images), self._rule)
        features, seen, steps = images, _Seen(self._scoring), list[StepTime]()
        clock = time.perf_counter_ns()
        for stage in self._stages:
            samples = pool.size
            if not samples:
                break
            output = stage.step(features)
            uncertainty = seen.judge(stage.exit, output) if stage.judged else None
            stay = pool.release(stage, output.label, uncertainty)
            features = output.features
            if stay is not None and pool.size:
                features = stage.step.take(features, stay)
                seen.take(stay)
            now = time.perf_counter_ns()
            steps.append(StepTime(stage.exit, samples, now - clock))
            clock = now
        return Answers(pool.label, pool.exit, pool.uncertainty, steps)


def require_images(images: Any) -> None:
    """Raise ValueError for an array of another type or shape than images have."""
    if isinstance(images, np.ndarray) and (images.dtype != np.uint8 or images.ndim != 4):
        raise ValueError(
            f"images must be uint8 (samples, height, width, channels); got {images.dtype} of shape {images.shape}"
        )


class _Pool:
    """The samples that are left, and the answers of those that are not."""

    def __init__(self, n: int, rule: Rule) -> None:
        self.size = n
        self._rule = rule
        self.label = np.empty(n, np.int64)
        self.exit = np.empty(n, np.intp)
        self.uncertainty = np.full(n, np.nan)
        self._rows: NDArray[np.intp] | None = None  # of those left, in the batch; None: all of it

    def release(
        self, stage: _Stage, label: NDArray[np.int64], uncertainty: NDArray[np.float64] | None
    ) -> NDArray[np.intp] | None:
        """Let go who leaves after a stage, with these answers of all who were left, each (left,).

        Return the positions, among those who were left, of those who stay; None where all of them do.
        """
        out = np.ones(self.size, np.bool_)
        if stage.threshold is not None:
            assert uncertainty is not None, "a side exit is judged"
            out = leaves(self._rule.of_call(uncertainty), stage.threshold)
        n_out = int(np.count_nonzero(out))
        if n_out == 0:
            return None
        if n_out == self.size:
            self._answer(self._rows, stage.exit, label, uncertainty)
            self.size = 0
            return np.empty(0, np.intp)
        gone, stay = out.nonzero()[0], (~out).nonzero()[0]
        rows = gone if self._rows is None else self._rows[gone]
        self._answer(rows, stage.exit, label[gone], None if uncertainty is None else uncertainty[gone])
        self._rows = stay if self._rows is None else self._rows[stay]
        self.size -= n_out
        return stay

    def _answer(
        self,
        rows: NDArray[np.intp] | None,
        k: int,
        label: NDArray[np.int64],
        uncertainty: NDArray[np.float64] | None,
    ) -> None:
        where = slice(None) if rows is None else rows
        self.exit[where] = k
        self.label[where] = label
        if uncertainty is not None:
            self.uncertainty[where] = uncertainty


class _Seen:
    """The logits so far of those who are left, for a score that compares exits; nothing for any other."""

    def __init__(self, scoring: Scoring) -> None:
        self._scoring = scoring
        self._logits: NDArray[np.float32] | None = None

    def judge(self, k: int, output: Output) -> NDArray[np.float64]:
        """Return the uncertainty at exit `k`: the graph's, or computed from the logits as replay does."""
        if output.uncertainty is not None:
            return output.uncertainty
        assert output.logits is not None, "a step gives an uncertainty or logits"
        if not self._scoring.compares_exits:
            return self._scoring.at_exit(k, output.logits)
        parts = [output.logits] if self._logits is None else [self._logits, output.logits]
        self._logits = np.concatenate(parts, axis=1)
        return self._scoring.at_exit(k, self._logits)

    def take(self, rows: NDArray[np.intp]) -> None:
        if self._logits is not None:
            self._logits = self._logits[rows]
