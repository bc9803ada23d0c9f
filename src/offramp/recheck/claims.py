"""What a certificate of each method claims, in the words it must use, and the counts and p-value that bear on it."""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.recheck.chains import Thresholds
from offramp.recheck.routes import exits_of
from offramp.recheck.rows import Table
from offramp.recheck.statistics import binomial_p_value, paired_p_agrees, paired_p_value

GAMMA = {"score": 1e-4, "difference": 1e-3}  # of the paired test, unless a hundredth of the level is less
PAIRED, OVERALL, PER_EXIT = "certified", "certified_overall", "certified_per_exit"
CERTIFIED_ROUTES = {
    f"certified_{name}": name for name in ("every_exit", "placed", "predictive", "single_jump", "learned")
}
METHODS = (PAIRED, OVERALL, PER_EXIT, *CERTIFIED_ROUTES)


@dataclass(frozen=True)
class Claim:
    """A method with a target, tested at a level; `order` of the paired test, "" for others."""

    method: str
    target: float
    level: float
    order: str = ""

    @property
    def gamma(self) -> float:
        return min(GAMMA[self.order], self.level / 100)

    @property
    def statement(self) -> str:
        chance = f"with probability at least {1 - self.level:.6g} over the draw of the certify rows, "
        return (
            chance
            + {
                PAIRED: f"the accuracy lost against the full network is at most {self.target:g}",
                OVERALL: f"the accuracy is at least {self.target:g}",
                PER_EXIT: "at every enabled side exit, the accuracy of those who leave there is at least "
                f"{self.target:g}",
            }[self.method]
        )

    @property
    def hypothesis(self) -> str:
        return {
            PAIRED: f"E[full network right - policy right] >= {self.target:g}",
            OVERALL: f"accuracy <= {self.target:g}",
            PER_EXIT: f"at some enabled side exit, accuracy <= {self.target:g}",
        }[self.method]

    @property
    def test(self) -> str:
        if self.method == PAIRED:
            return f"exact paired test, tables ordered by {self.order}, Berger-Boos gamma {self.gamma:g}"
        return {
            OVERALL: "exact binomial",
            PER_EXIT: "intersection-union of exact binomials, one per enabled side exit",
        }[self.method]

    def labels_needed(self, rows: Table, thresholds: Thresholds) -> NDArray[np.bool_]:
        """Return which rows (samples,) the test needs a label of."""
        taken = exits_of(rows, thresholds)
        if self.method == PAIRED:
            return rows.changed[np.arange(len(rows)), taken]
        return taken < rows.n_exits - 1 if self.method == PER_EXIT else np.ones(len(rows), np.bool_)

    def counts(self, rows: Table, thresholds: Thresholds) -> dict[str, int]:
        """Return what the test counts, under the names a certificate gives it."""
        taken = exits_of(rows, thresholds)
        right = rows.correct[np.arange(len(rows)), taken]
        if self.method == OVERALL:
            return {"correct": int(right.sum())}
        if self.method == PER_EXIT:
            counts = {}
            for k, threshold in enumerate(thresholds[:-1]):
                if threshold is not None:
                    counts[f"samples_exit_{k + 1}"] = int((taken == k).sum())
                    counts[f"correct_exit_{k + 1}"] = int(right[taken == k].sum())
            return counts
        unlabelled = int((self.labels_needed(rows, thresholds) & ~rows.labelled).sum())
        if unlabelled:
            return {"unlabelled": unlabelled}
        full = rows.correct[:, -1]
        return {"damaged": int((full & ~right).sum()), "rescued": int((right & ~full).sum())}

    def p_value(self, n: int, counts: dict[str, int]) -> float:
        """Return the p-value of "the claim is false" for counts on n rows: the largest one of several exits'."""
        if self.method == PAIRED:
            if "unlabelled" in counts:
                return 1.0
            return paired_p_value(n, counts["damaged"], counts["rescued"], self.target, self.order, self.gamma)
        if self.method == OVERALL:
            return binomial_p_value(counts["correct"], n, self.target)
        exits = exit_counts(counts)
        return max((binomial_p_value(correct, samples, self.target) for samples, correct in exits), default=1.0)

    def agrees(self, stated: float, own: float) -> bool:
        """Return whether a stated p-value is right: for binomials up to rounding, for paired tests as documented."""
        if self.method == PAIRED and own < 1:
            return paired_p_agrees(stated, own)
        return abs(stated - own) <= 1e-9 + 1e-6 * own


def claim_of(method: str) -> str:
    """Return the method whose claim it is: a certified route claims what `certified` does."""
    return PAIRED if method in CERTIFIED_ROUTES else method


def exit_counts(counts: dict[str, int]) -> list[tuple[int, int]]:
    """Return samples and right answers of every enabled side exit."""
    return [(counts[key], counts[key.replace("samples", "correct")]) for key in counts if key.startswith("samples")]


def order_of(test: str) -> str | None:
    """Return the order that the description of a paired test names; None where it names none that is known."""
    named = re.match(r"exact paired test, tables ordered by (score|difference),", test)
    return named[1] if named else None


def several(looks: int, delta: float, simultaneous: bool) -> str:
    """Return what a certificate must say about choosing among several from the same rows."""
    if looks == 1:
        return "the only certificate from these rows"
    if simultaneous:
        return f"all {looks} certificates from these rows hold together with probability at least {1 - delta:.6g}"
    together = f"{max(0.0, 1 - looks * delta):.6g}"
    return (
        f"one of {looks} from the same rows, each holding alone; all together with probability at least {together} "
        "(calibrate.simultaneous: true splits delta over them)"
    )
