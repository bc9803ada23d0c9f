"""Placement: which exits are worth a head, from tune rows and true costs.

Exit m stays where (θ − c)·y1 − (1 − c)·yc − (1 − θ)·y0 ≥ 0: y0 and y1 are the costs of its own segment and of the next,
yc that of its head, c the share of samples that do not leave when only exit m is looked at. With e = 1 − c it reads
e·(y1 − yc) ≥ (1 − θ)(y0 + y1): what leaving saves of the next segment, less the head, repays a share 1 − θ of the two
segments around. Segments without MACs, as pooling, make an exit after them cheap to keep and one before them useless.

Reference: Li et al. (2023), Predictive Exit, released code, whose own cost tables are wrong by up to 130 times.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from offramp.policies.costs import Costs
from offramp.policies.outcomes import Outcomes
from offramp.policies.routes.observed import Mask
from offramp.policies.routes.walk import parts
from offramp.scores.registry import Floats

THETA = 0.5
MOST = 12  # placements of which each is paired with every cut


@dataclass(frozen=True)
class Placement:
    """Of every side exit (side exits,): the share that leaves there if it is the only one, the least share, margin."""

    share: Floats
    least: Floats  # the share from which on the exit stays; infinite where its head costs as much as the next segment
    margin: Floats  # the left-hand side of the inequality
    kept: Mask

    @property
    def exits(self) -> tuple[int, ...]:
        """Return the exits that stay, from 0; there may be none."""
        return tuple(np.flatnonzero(self.kept).tolist())


def place(outcomes: Outcomes, cut: float, costs: Costs, theta: float = THETA) -> Placement:
    """Return the placement for samples that leave where their uncertainty is at most `cut`; theta is in [0, 1]."""
    return placement(outcomes.fires(cut)[:, :-1].mean(axis=0), costs, theta)


def placement(share: Floats, costs: Costs, theta: float = THETA) -> Placement:
    """Return the placement for the shares (side exits,) that leave where an exit is the only one."""
    if not 0 <= theta <= 1:
        raise ValueError(f"theta must be in [0, 1]; got {theta!r}")
    segment, head = parts(costs)
    own, following, heads = segment[:-1], segment[1:], head[:-1]
    staying = 1 - share
    margin = (theta - staying) * following - (1 - staying) * heads - (1 - theta) * own
    saved = following - heads
    least = np.full(len(share), np.inf)
    np.divide((1 - theta) * (own + following), saved, out=least, where=saved > 0)
    return Placement(share, least, margin, margin >= 0)


def distinct(cuts: Sequence[float], exits_at: Callable[[float], tuple[int, ...]]) -> list[float]:
    """Return the first cut, ascending, of every distinct placement; `exits_at` says which exits stay at a cut."""
    first: dict[tuple[int, ...], float] = {}
    for cut in sorted(cuts):
        first.setdefault(exits_at(cut), cut)
    return list(first.values())


def spread(cuts: Sequence[float], most: int = MOST) -> list[float]:
    """Return at most `most` of these cuts, evenly by position, the first and the last among them."""
    places = np.linspace(0, len(cuts) - 1, min(most, len(cuts))).round().astype(int)
    return [cuts[place] for place in places.tolist()]
