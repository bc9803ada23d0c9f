"""Which rows need a label next: those that the next certificate test would read, and no others.

Where a policy's answer is the full network's, nothing is lost whatever the label. So a walk needs labels only for rows
that a candidate answers differently, candidate after candidate, and none beyond the first failure.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from offramp.calibration.certificates.sequence import in_sequence
from offramp.calibration.certified import loss_claim
from offramp.calibration.problem import Problem
from offramp.project.tables import write_table

COLUMNS = ["step", "sample"]


@dataclass(frozen=True)
class Request:
    """Rows to label, (step, sample id) in walking order; `waiting` are the losses whose walk stands still for them."""

    rows: list[tuple[int, int]]
    waiting: list[float]
    labelled: int  # certify rows that have a label already
    certify: int
    declared: int


def next_labels(problem: Problem, max_losses: list[float], ahead: int = 1) -> Request:
    """Return the rows whose label the next test needs, for those losses whose walk has not ended with a failure.

    With `ahead`, the rows of so many candidates from there on: fewer rounds of labelling, perhaps a few labels more.
    """
    claims = {max_loss: loss_claim(problem, max_loss) for max_loss in max_losses}
    stands: dict[float, int] = {}
    for max_loss, claim in claims.items():
        tested = in_sequence((claim.step(candidate) for candidate in problem.chain), problem.level)
        if tested.steps and "unlabelled" in tested.steps[-1].counts:
            stands[max_loss] = tested.rejected
    rows = problem.certify.rows
    request = Request([], list(stands), int(rows.labelled.sum()), len(rows), len(problem.chain))
    if not stands:
        return request
    asked = rows.labelled.copy()
    start = min(stands.values())  # the first candidate that reads a row without a label: the same for every loss
    for number, candidate in enumerate(problem.chain[start : start + ahead], start=start + 1):
        new = claims[request.waiting[0]].labels_read(candidate) & ~asked
        asked |= new
        request.rows.extend((number, sample) for sample in np.sort(rows.sample[new]).tolist())
    return request


def write_labels(path: Path, request: Request) -> None:
    write_table(path, COLUMNS, [{"step": step, "sample": sample} for step, sample in request.rows])


def describe(request: Request) -> str:
    known = f"{request.labelled} of {request.certify} certify rows have a label"
    if not request.rows:
        return f"no label is needed: every walk has ended ({known})"
    steps = sorted({step for step, _ in request.rows})
    losses = ", ".join(f"{max_loss:g}" for max_loss in request.waiting)
    which = f"step {steps[0]}" if len(steps) == 1 else f"steps {steps[0]} to {steps[-1]}"
    return f"{len(request.rows)} rows need a label for {which} of {request.declared} (max_loss {losses}); {known}"
