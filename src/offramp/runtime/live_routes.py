"""The runtime of routes: after each head that a sample runs a route says where it looks next; no head runs between.

Every sample that has not left goes through the trunk; at a stop those whose target it is run its head, and the code
that replay uses, `offramp.policies.routes.walk.Decider`, says who leaves and where the others look next.
"""

import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.policies.policy import Policy
from offramp.policies.routes.rule import RouteRule
from offramp.policies.routes.walk import Decider
from offramp.runtime.engines.pieces import Engine, Step
from offramp.runtime.live import Answers, Images, Runtime, StepTime, require_images
from offramp.runtime.policy_pieces import skips_heads, stops

if TYPE_CHECKING:
    from torch import Tensor


Keys = NDArray[np.int64]  # (samples,)


def runtime_for(engine: Engine, policy: Policy, report_last: bool = False) -> "Runtime | RouteRuntime":
    """Return the runtime of a policy, by its rule.

    Raises ValueError for a policy without a scoring and for a route that only replay can do.
    """
    if skips_heads(policy.rule):
        return RouteRuntime(engine, policy, report_last)
    return Runtime(engine, policy, report_last)


class _Stop(NamedTuple):
    exit: int
    trunk: Step
    head: Step | None  # None: everybody looks, and the trunk ends with the logits


class RouteRuntime:
    """A route on an engine: call it with one batch of images at a time."""

    def __init__(self, engine: Engine, policy: Policy, report_last: bool = False) -> None:
        """Prepare the steps of a route, which may look at the enabled exits of the policy and at no other.

        `report_last` also computes the uncertainty of samples that reach the last exit, which no decision needs.
        """
        assert isinstance(policy.rule, RouteRule), "runtime_for takes the runtime of the rule"
        self._scoring, self._report_last = policy.require_scoring(), report_last
        self._n_exits = len(policy.thresholds)
        self._decider: Decider = policy.rule.decider(self._scoring, self._n_exits)
        self._one_at_a_time = threading.Lock()  # steps write into arrays of their own
        self._stops = []
        for stop in stops(policy.enabled, self._decider.route):
            head = None if stop.head is None else engine.step(stop.head, None)
            self._stops.append(_Stop(stop.exit, engine.step(stop.trunk, None), head))

    def __call__(self, images: "Images | Tensor", keys: Keys | None = None) -> Answers:
        """Return the answers of images as `Runtime` takes them, and whose heads ran.

        `keys` name the samples; they are the ids in replay. Only a route that draws jumps at random asks for them: such
        a one raises ValueError without. A step's time is that of trunk and head, for all who were still there.
        """
        require_images(images)
        if self._decider.route.keyed and keys is None:
            raise ValueError(f"route {self._decider.route.name!r} draws jumps by a key per sample; give the sample ids")
        with self._one_at_a_time:
            return self._answer_one(images, keys) if len(images) == 1 else self._answer(images, keys)

    def _answer_one(self, images: Any, keys: Keys | None) -> Answers:
        """Answer a batch of one: no rows are gathered, and what lies between two looks counts as one step."""
        features, target, steps = images, self._decider.start, list[StepTime]()
        visited = np.zeros((1, self._n_exits), np.bool_)
        clock = time.perf_counter_ns()
        for stop in self._stops:
            output = stop.trunk(features)
            features = output.features
            if stop.exit != target:
                continue
            if stop.head is not None:
                output = stop.head(features)
            uncertainty, leaves, targets = self._judge(stop.exit, output.logits, keys)
            visited[0, stop.exit], target = True, int(targets[0])
            now = time.perf_counter_ns()
            steps.append(StepTime(stop.exit, 1, now - clock))
            if leaves[0]:
                break
            clock = now
        return Answers(output.label.copy(), np.array([stop.exit]), uncertainty, steps, visited)

    def _answer(self, images: Any, keys: Keys | None) -> Answers:
        walkers = _Walkers(len(images), self._n_exits, self._decider.start, keys)
        features, steps = images, list[StepTime]()
        clock = time.perf_counter_ns()
        for stop in self._stops:
            samples = len(walkers.rows)
            if not samples:
                break
            output = stop.trunk(features)
            features = output.features
            looking = np.flatnonzero(walkers.target == stop.exit)
            if len(looking):
                if stop.head is not None:
                    few = len(looking) < samples
                    output = stop.head(stop.trunk.take(features, looking) if few else features)
                judged = self._judge(stop.exit, output.logits, walkers.keys(looking))
                stay = walkers.look(stop.exit, looking, output.label, judged)
                if stay is not None and len(stay):
                    features = stop.trunk.take(features, stay)
            now = time.perf_counter_ns()
            steps.append(StepTime(stop.exit, samples, now - clock))
            clock = now
        return Answers(walkers.label, walkers.exit, walkers.uncertainty, steps, walkers.visited)

    def _judge(self, k: int, logits: NDArray[np.float32] | None, keys: Keys | None) -> "_Judged":
        """Return what becomes of samples that look at exit `k`, of its logits (samples, 1, classes)."""
        assert logits is not None, "the pieces of a route give logits"
        if k < self._n_exits - 1:
            seen, step = self._decider.judge(k, logits[:, -1], keys)
            return _Judged(seen.uncertainty, step.leaves, step.target)
        n = len(logits)
        uncertainty = self._scoring.at_exit(k, logits) if self._report_last else np.full(n, np.nan)
        return _Judged(uncertainty, np.ones(n, np.bool_), np.full(n, k))


class _Judged(NamedTuple):
    """What became of those who looked, each (looking,)."""

    uncertainty: NDArray[np.float64]
    leaves: NDArray[np.bool_]
    target: NDArray[np.intp]


class _Walkers:
    """Where those who are left look next, and the answers of those who are not."""

    def __init__(self, n: int, n_exits: int, start: int, keys: Keys | None) -> None:
        self.label = np.empty(n, np.int64)
        self.exit = np.empty(n, np.intp)
        self.uncertainty = np.full(n, np.nan)
        self.visited = np.zeros((n, n_exits), np.bool_)
        self.rows = np.arange(n)  # of those left, in the batch
        self.target = np.full(n, start)  # of those left
        self._keys = keys

    def keys(self, looking: NDArray[np.intp]) -> Keys | None:
        return None if self._keys is None else self._keys[self.rows[looking]]

    def look(
        self, k: int, looking: NDArray[np.intp], label: NDArray[np.int64], judged: _Judged
    ) -> NDArray[np.intp] | None:
        """Take in what became of those at the positions `looking`, among those left; return the positions that stay.

        None where all do.
        """
        rows = self.rows[looking]
        self.visited[rows, k] = True
        self.target[looking] = judged.target
        gone = rows[judged.leaves]
        if not len(gone):
            return None
        self.exit[gone], self.label[gone] = k, label[judged.leaves]
        self.uncertainty[gone] = judged.uncertainty[judged.leaves]
        left = np.ones(len(self.rows), np.bool_)
        left[looking[judged.leaves]] = False
        stay = left.nonzero()[0]
        self.rows, self.target = self.rows[stay], self.target[stay]
        return stay
