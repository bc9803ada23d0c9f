"""What an engine gives the runtime: the network in steps, one per enabled exit, each ending with that exit's answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # filling a cache knows nothing of scores
    from offramp.scores.scoring import Scoring


@dataclass(frozen=True)
class Piece:
    """What one step runs: the segments after exit `start` (None: from the images) up to exit `end`, and heads.

    `heads` are the exits whose logits are computed, `end` the last of them; without any it is the trunk alone. Where
    `end` is `start` it is the head alone. Exits are counted from 0.
    """

    start: int | None
    end: int
    heads: tuple[int, ...]
    features: bool  # whether a later piece goes on from `end`
    answered: bool = True  # False: what is wanted are the logits, and nothing made of them


def pieces(enabled: Sequence[bool], every_head: bool = False) -> list[Piece]:
    """Return what is run for enabled exits (exits,): a piece per enabled exit; the last exit is always enabled.

    With `every_head`, for a score that compares exits, the heads of disabled exits run too where a later side exit is
    enabled: what `Costs.at_exits` charges.
    """
    ends = [k for k, on in enumerate(enabled) if on]
    last_side = max((k for k in ends if k < len(enabled) - 1), default=-1)
    starts: list[int | None] = [None, *ends[:-1]]
    found = []
    for start, end in zip(starts, ends, strict=True):
        passed = range(0 if start is None else start + 1, end)
        heads = (*(k for k in passed if every_head and k < last_side), end)
        found.append(Piece(start, end, heads, features=end != ends[-1]))
    return found


def every_exit(n_exits: int) -> Piece:
    """Return the piece that is the whole network with all its heads: what fills a cache."""
    return Piece(None, n_exits - 1, tuple(range(n_exits)), features=False)


class Output(NamedTuple):
    """What a step gives for its samples: labels (samples,) and either their uncertainty or what it is computed from.

    A piece without heads gives features alone, and no labels, (0,).
    """

    features: Any  # of all samples given; None after the last step
    label: NDArray[np.int64]
    uncertainty: NDArray[np.float64] | None = None
    logits: NDArray[np.float32] | None = None  # (samples, heads, classes), where the score is not in the graph


NO_LABELS = np.empty(0, np.int64)


class Step(Protocol):
    """Runs one piece on the samples that are left. What it gives may be overwritten by its next call."""

    def __call__(self, features: Any) -> Output: ...

    def take(self, features: Any, rows: NDArray[np.intp]) -> Any:
        """Return the features of these rows of what the last call gave."""
        ...


class Engine(Protocol):
    """Turns pieces into steps. `name` stands in caches and tables."""

    name: str

    def step(self, piece: Piece, scoring: "Scoring | None") -> Step:
        """Return the step of a piece; without a scoring nobody asks for an uncertainty at its end."""
        ...

    def exit_logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return every exit's logits (samples, exits, classes): what fills a cache."""
        ...
