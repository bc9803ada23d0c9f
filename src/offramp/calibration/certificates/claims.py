"""What a certificate can claim of a policy, and the exact test of it on the certify fold.

A claim turns a policy into a `Step`: counts, and the p-value of the hypothesis
that the claim is false.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from offramp.calibration.certificates.sequence import Step
from offramp.calibration.folds import Certify
from offramp.policies.policy import Policy
from offramp.policies.replay import exits_of
from offramp.statistics.exact_tests import accuracy_p_value, p_value


class Claim(Protocol):
    """Tests one candidate after another on the same rows."""

    @property
    def statement(self) -> str: ...

    @property
    def hypothesis(self) -> str: ...

    @property
    def test(self) -> str: ...

    def step(self, candidate: Policy) -> Step: ...

    def labels_read(self, candidate: Policy) -> NDArray[np.bool_]:
        """Return which certify rows (samples,) must have a label to test this candidate."""
        ...


@dataclass(frozen=True)
class LossClaim:
    """At most `max_loss` of accuracy is lost against the full network.

    Needs labels only where the policy's answer is not the full network's. A candidate with such a row unlabelled is not
    rejected (p-value 1): that never adds a certificate, so the claim holds for labels given in any order.
    """

    certify: Certify
    max_loss: float
    order: str  # score | difference
    gamma: float

    @property
    def statement(self) -> str:
        return f"the accuracy lost against the full network is at most {self.max_loss:g}"

    @property
    def hypothesis(self) -> str:
        return f"E[full network right - policy right] >= {self.max_loss:g}"

    @property
    def test(self) -> str:
        return f"exact paired test, tables ordered by {self.order}, Berger-Boos gamma {self.gamma:g}"

    def step(self, candidate: Policy) -> Step:
        rows = self.certify.rows
        taken = exits_of(rows, candidate)
        early, full = rows.correct[np.arange(len(rows)), taken], rows.correct[:, -1]
        unlabelled = int((~rows.agrees[np.arange(len(rows)), taken] & ~rows.labelled).sum())
        if unlabelled:
            return Step(candidate, {"unlabelled": unlabelled}, 1.0)
        damaged, rescued = int((full & ~early).sum()), int((early & ~full).sum())
        p = p_value(len(rows), damaged, rescued, self.max_loss, self.order, self.gamma)
        return Step(candidate, {"damaged": damaged, "rescued": rescued}, p)

    def labels_read(self, candidate: Policy) -> NDArray[np.bool_]:
        rows = self.certify.rows
        taken = exits_of(rows, candidate)
        return ~rows.agrees[np.arange(len(rows)), taken]


@dataclass(frozen=True)
class AccuracyClaim:
    """The policy is right at least as often as `target`."""

    certify: Certify
    target: float

    test = "exact binomial"

    @property
    def statement(self) -> str:
        return f"the accuracy is at least {self.target:g}"

    @property
    def hypothesis(self) -> str:
        return f"accuracy <= {self.target:g}"

    def step(self, candidate: Policy) -> Step:
        rows = self.certify.rows
        taken = exits_of(rows, candidate)
        correct = int(rows.correct[np.arange(len(rows)), taken].sum())
        return Step(candidate, {"correct": correct}, accuracy_p_value(correct, len(rows), self.target))

    def labels_read(self, candidate: Policy) -> NDArray[np.bool_]:  # noqa: ARG002 (other claims need fewer)
        return np.ones(len(self.certify.rows), np.bool_)


@dataclass(frozen=True)
class ExitAccuracyClaim:
    """At every enabled side exit, those who leave there are right at least as often as `target`.

    The intersection–union test: the hypothesis "some exit is worse" is rejected when every exit's own test rejects at
    the undivided level; the p-value is the largest of theirs (Berger 1982, Technometrics 24(4)). An exit at which no
    certify row leaves has p-value 1.
    """

    certify: Certify
    target: float

    test = "intersection-union of exact binomials, one per enabled side exit"

    @property
    def statement(self) -> str:
        return f"at every enabled side exit, the accuracy of those who leave there is at least {self.target:g}"

    @property
    def hypothesis(self) -> str:
        return f"at some enabled side exit, accuracy <= {self.target:g}"

    def step(self, candidate: Policy) -> Step:
        rows = self.certify.rows
        taken = exits_of(rows, candidate)
        counts: dict[str, int] = {}
        p = 0.0
        for k, threshold in enumerate(candidate.thresholds[:-1]):
            if threshold is None:
                continue
            here = taken == k
            samples, correct = int(here.sum()), int(rows.correct[here, k].sum())
            counts |= {f"samples_{rows.exits[k]}": samples, f"correct_{rows.exits[k]}": correct}
            p = max(p, accuracy_p_value(correct, samples, self.target))
        return Step(candidate, counts, p)

    def labels_read(self, candidate: Policy) -> NDArray[np.bool_]:
        last = self.certify.rows.n_exits - 1
        return np.asarray(exits_of(self.certify.rows, candidate) < last)
