"""Stops: the exits that a route may look at, and the pieces of a network that let it look or go past.

Between two stops the trunk is one piece. A head is a piece of its own where only some of the samples look, so that the
others do without; where everybody who is still there looks, as at the first stop, it is one piece with the trunk.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

from offramp.policies.routes.rule import RouteRule
from offramp.policies.rules import Rule
from offramp.runtime.engines.pieces import Piece, pieces

if TYPE_CHECKING:
    from offramp.policies.routes.walk import Route


@dataclass(frozen=True)
class Stop:
    """An exit, from 0, with the trunk up to it and its head; `head` None: the trunk's piece ends with it."""

    exit: int
    trunk: Piece
    head: Piece | None

    @property
    def pieces(self) -> tuple[Piece, ...]:
        return (self.trunk,) if self.head is None else (self.trunk, self.head)


def stops(enabled: Sequence[bool], route: "Route") -> list[Stop]:
    """Return the stops of a route, given which exits (exits,) it may look at; the last exit is always one.

    Everybody looks at the first stop, at the final classifier and, under a route that clamps, at the last side exit.
    """
    ends = [k for k, on in enumerate(enabled) if on]
    last = len(enabled) - 1
    found: list[Stop] = []
    for start, end in zip([None, *ends[:-1]], ends, strict=True):
        on = end != last
        together = start is None or not on or (route.clamp and end == last - 1)
        trunk = Piece(start, end, (end,) if together else (), features=on, answered=False)
        head = None if together else Piece(end, end, (end,), features=False, answered=False)
        found.append(Stop(end, trunk, head))
    return found


def skips_heads(rule: Rule) -> TypeGuard[RouteRule]:
    """Return whether samples under a rule look at different exits.

    A route under which everybody looks at every exit that is enabled decides as thresholds do, and is run as such.
    """
    return isinstance(rule, RouteRule) and rule.route.forecasts


def policy_pieces(enabled: Sequence[bool], rule: Rule, every_head: bool = False) -> list[Piece]:
    """Return the pieces that a policy runs, in the order of the network; see `stops` and `runtime.engines.pieces`."""
    if skips_heads(rule):
        return [piece for stop in stops(enabled, rule.route) for piece in stop.pieces]
    return pieces(enabled, every_head)
