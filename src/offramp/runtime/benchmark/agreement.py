"""Live against replay: how many samples took another exit or got another label, and how close a call that was.

A convolution differs in its last bits between batch sizes and engines, so a sample whose uncertainty lies within some
1e-5 of a threshold may leave elsewhere than replay says. How far off the furthest of them was shows whether last bits
are all that differed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.policies.outcomes import observe
from offramp.policies.policy import Policy, Threshold, exits_taken
from offramp.runtime.policy_pieces import skips_heads

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """How many samples were compared, `moved` to another exit, or were `renamed`: same exit, another label.

    The gaps are None where no sample is concerned. `largest_gap`, in the score's unit: of those moved, from the
    deciding uncertainty to its threshold. `largest_logit_gap`: of those renamed, between the logits of the two labels.
    """

    samples: int
    moved: int
    renamed: int
    largest_gap: float | None
    largest_logit_gap: float | None

    @property
    def mismatches(self) -> int:
        return self.moved + self.renamed


def compare_live(
    label: NDArray[np.int64],
    taken: NDArray[np.intp],
    logits: NDArray[np.floating],
    policy: Policy,
    batch_size: int = 1,
    *,
    visited: NDArray[np.bool_] | None = None,
    sample: NDArray[np.int64] | None = None,
) -> Agreement:
    """Hold live labels (samples,) and exits (samples,), from 0, against the replay of a cache's logits.

    `batch_size` is that of the live calls, one after the other in this order. Under rule `batch` these calls are the
    batches, so replay is of batches of this size, whatever the policy was calibrated for.

    `logits` are (samples, exits, classes), of the same samples in the same order. The deciding uncertainty is replay's,
    at the first of the two exits: there one of the two said leave. Raises ValueError where no finite threshold decided
    that: these are answers under other thresholds. Under a route `visited` (samples, exits) says whose heads ran live
    and `sample` holds the ids (samples,), by default 0, 1, …; a gap is known of those whose head ran there both times,
    who were sent apart by a threshold and not by a forecast before it.
    """
    scoring, rule = policy.require_scoring(), policy.rule
    ids = np.arange(len(logits)) if sample is None else sample
    if skips_heads(rule):
        walk = rule.walk(observe(rule.look(scoring), logits, label, ids))
        uncertainty, replayed = scoring(logits), walk.taken
        comparable = walk.visited if visited is None else walk.visited & visited
    else:
        uncertainty = rule.called_with(batch_size).of_cache(scoring(logits), np.arange(len(logits)))
        replayed, comparable = exits_taken(uncertainty, policy.thresholds), np.ones(uncertainty.shape, np.bool_)
    moved = np.flatnonzero(replayed != taken)
    answers = logits[np.arange(len(logits)), replayed]  # (samples, classes)
    renamed = np.flatnonzero((answers.argmax(axis=1) != label) & (replayed == taken))
    named = answers[renamed].astype(np.float64)
    logit_gaps = named.max(axis=1) - named[np.arange(len(renamed)), label[renamed]]
    first = np.minimum(replayed, taken)
    judged = moved[comparable[moved, first[moved]]]
    gaps = _gaps(uncertainty[judged], first[judged], policy.thresholds)
    return Agreement(len(label), len(moved), len(renamed), _largest(gaps), _largest(logit_gaps))


def _gaps(uncertainty: Floats, first: NDArray[np.intp], thresholds: Sequence[Threshold]) -> Floats:
    """Return the distance (n,) from the uncertainty (n, exits) at the exits `first` (n,) to their thresholds."""
    limits = np.array([np.nan if threshold is None else threshold for threshold in thresholds])
    gaps = np.abs(uncertainty[np.arange(len(first)), first] - limits[first])
    undecided = np.flatnonzero(~np.isfinite(gaps))
    if len(undecided):
        k = first[undecided[0]]
        raise ValueError(
            f"live and replay differ at exit_{k + 1}, whose threshold {thresholds[k]} leaves no choice: "
            "the live answers are not of these thresholds"
        )
    return gaps


def _largest(gaps: Floats) -> float | None:
    return float(gaps.max()) if len(gaps) else None
