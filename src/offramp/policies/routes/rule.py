"""Routes as rules of policies.json: which exits a sample looks at, and the one cut at which it leaves.

An exit that may be looked at has the cut as its threshold, any other null. Exits count from 1 in JSON (`start: 1` is
exit_1) and from 0 in code. Everything of a route stands in `arguments`, fitted parts too: nothing is fitted on reading.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Self

from offramp.policies.outcomes import Outcomes
from offramp.policies.routes.jumps import ConstantJump, RandomJump
from offramp.policies.routes.learned import ExitModel, Learned, model_from_json
from offramp.policies.routes.observed import Look, OneExit, n_route_features
from offramp.policies.routes.routes import EveryExit, Placed, Predictive, SingleJump
from offramp.policies.routes.smoothing import LARGEST_HORIZON
from offramp.policies.routes.walk import Decider, Route, Walk
from offramp.policies.rules import Rule
from offramp.project.errors import InputError
from offramp.scores.activation import Activation
from offramp.scores.scoring import Scoring

LARGEST_EXIT, LARGEST = 10_000, 1e100


@dataclass(frozen=True)
class RouteRule(Rule):
    """A route that a runtime can run, and the uncertainty `cut` at which a sample leaves; named after the route."""

    route: Route
    cut: float

    def __post_init__(self) -> None:
        if self.route.name not in ROUTES:
            raise ValueError(f"route {self.route.name!r} is no rule; {', '.join(ROUTES)} are")
        object.__setattr__(self, "name", self.route.name)

    @classmethod
    def from_json(cls, arguments: Mapping[str, Any] | None) -> Self:
        del arguments
        raise ValueError("arguments alone do not say which route; use route_rule")

    @property
    def arguments(self) -> dict[str, Any]:
        route, found = self.route, dict[str, Any]()
        if not isinstance(route, Placed):
            found["start"] = route.start + 1
        found["cut"] = self.cut
        for name, part in ROUTES[route.name].parts.items():
            found[name] = part.to_json(route)
        if isinstance(route, Learned) and route.cut != self.cut:
            found["fitted_cut"] = route.cut
        return found

    @property
    def words(self) -> str:
        route = self.route
        if isinstance(route, Placed):
            return f"looking at {len(route.exits)} placed exits" if route.exits else "looking at no exit"
        return f"{route.name.replace('_', ' ')} from exit_{route.start + 1} on"

    def looks_at(self, k: int) -> bool:
        """Return whether a sample may look at side exit `k`, from 0."""
        return k in self.route.exits if isinstance(self.route, Placed) else k >= self.route.start

    def thresholds(self, n_exits: int) -> tuple[float | None, ...]:
        """Return the thresholds (exits,) that stand for the rule in a network of so many exits."""
        return (*(self.cut if self.looks_at(k) else None for k in range(n_exits - 1)), inf)

    def check(self, side_thresholds: Sequence[float | None]) -> None:
        route, n_side = self.route, len(side_thresholds)
        farthest = max(route.exits, default=0) if isinstance(route, Placed) else route.start
        if farthest > n_side or (isinstance(route, Placed) and farthest == n_side > 0):
            raise ValueError(f"rule {self.name!r} speaks of exit_{farthest + 1}; the network has {n_side} side exits")
        if isinstance(route, Learned):
            _require_sizes(route, n_side)
        for k, given in enumerate(side_thresholds):
            expected = self.cut if self.looks_at(k) else None
            if given != expected:
                raise ValueError(
                    f"rule {self.name!r} has the threshold {expected!r} at exit_{k + 1} by its arguments; "
                    f"it is {given!r}"
                )

    def fits(self, scoring: Scoring, n_classes: int | None = None) -> None:
        """Raise ValueError for a score that the route cannot use, InputError for models fitted for other classes."""
        self.look(scoring)
        if n_classes is not None and isinstance(self.route, Learned):
            sizes = {len(model.mean) for model in self.route.models}
            if sizes - {n_route_features(n_classes)}:
                raise InputError(f"the models of rule 'learned' were not fitted for {n_classes} classes")

    def look(self, scoring: Scoring) -> Look:
        """Return what the route has to see of logits. Raises ValueError for a score that it cannot use."""
        if isinstance(self.route, Predictive) and scoring.activation is None:
            raise ValueError(f"rule {self.name!r} compares activations; the score is {scoring.score!r}, not activation")
        horizon = self.route.horizon if isinstance(self.route, Predictive) else 0
        return Look(score_of(scoring), horizon, isinstance(self.route, Learned))

    def decider(self, scoring: Scoring, n_exits: int) -> Decider:
        """Return the route as a runtime asks it."""
        return Decider(self.route, self.look(scoring), self.cut, n_exits)

    def walk(self, outcomes: Outcomes) -> Walk:
        """Return the walk of every sample, of outcomes read with a Look that sees as much as `look`."""
        return self.route.walk(outcomes, self.cut)


def score_of(scoring: Scoring) -> Activation | OneExit:
    """Return a scoring as one exit alone has it. Raises ValueError for a score that compares exits."""
    return OneExit(scoring) if scoring.activation is None else scoring.activation


def joint_look(rules: Iterable[Rule], scoring: Scoring, n_classes: int) -> Look | None:
    """Return a Look that sees what each of these rules needs; None where no route asks for more than a score.

    Raises InputError for models that were fitted for another number of classes.
    """
    routes = [rule for rule in rules if isinstance(rule, RouteRule)]
    for rule in routes:
        rule.fits(scoring, n_classes)
    looks = [rule.look(scoring) for rule in routes]
    horizon, predictors = max((look.horizon for look in looks), default=0), any(look.predictors for look in looks)
    return Look(score_of(scoring), horizon, predictors) if horizon or predictors else None


def route_rule(name: str, arguments: Mapping[str, Any] | None) -> RouteRule:
    """Return the rule of this name with its `arguments` of policies.json. Raises ValueError for any that are wrong."""
    kind, given = ROUTES[name], dict(arguments or {})
    optional = {"fitted_cut"} & set(given) if kind.route is Learned else set()
    wanted = {"cut", *kind.parts, *([] if kind.route is Placed else ["start"]), *optional}
    if set(given) != wanted:
        held = ", ".join(map(repr, given)) or "nothing"
        raise ValueError(f"rule {name!r} takes the arguments {', '.join(sorted(wanted))}; got {held:.200}")
    cut = _number("cut", given["cut"])
    parts = {part.field: part.from_json(key, given[key]) for key, part in kind.parts.items()}
    if "start" in wanted:
        parts["start"] = _whole("start", given["start"], LARGEST_EXIT) - 1
    if kind.route is Learned:
        parts["cut"] = _number("fitted_cut", given.get("fitted_cut", cut))
        parts["models"] = _models(parts["start"], parts["models"])
    return RouteRule(kind.route(**parts), cut)


@dataclass(frozen=True)
class Part:
    """One argument of a route: the route's field, and how it is read and written."""

    field: str
    from_json: Callable[[str, Any], Any]
    to_json: Callable[[Any], Any]


@dataclass(frozen=True)
class Kind:
    """A route and its arguments besides `start` and `cut`."""

    route: type[Route]
    parts: Mapping[str, Part]


def _whole(name: str, value: Any, largest: int, least: int = 1) -> int:
    if type(value) is not int or not least <= value <= largest:
        raise ValueError(f"{name} must be a whole number from {least} to {largest}; got {value!r:.60}")
    return value


def _number(name: str, value: Any) -> float:
    if type(value) not in (int, float) or not abs(value) <= LARGEST:
        raise ValueError(f"{name} must be a finite number; got {value!r:.60}")
    return float(value)


def _truth(name: str, value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError(f"{name} must be true or false; got {value!r:.60}")
    return value


def _exits(name: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > LARGEST_EXIT:
        raise ValueError(f"{name} must be a list of exits, from 1; got {value!r:.60}")
    return tuple(_whole(f"each of {name}", number, LARGEST_EXIT) - 1 for number in value)


def _weights(name: str, value: Any) -> tuple[float, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= LARGEST_EXIT:
        raise ValueError(f"{name} must be a non-empty list of numbers; got {value!r:.60}")
    return tuple(_number(f"each of {name}", number) for number in value)


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or len(value) > LARGEST_EXIT:
        raise ValueError(f"{name} of rule 'learned' must be an object with an entry per exit; got {value!r:.60}")
    return value


def _models(start: int, given: Mapping[str, Any]) -> tuple[ExitModel, ...]:
    """Return the models of exits from `start` to the one before the last side exit: their number says which that is."""
    names = [f"exit_{start + k + 1}" for k in range(len(given))]
    if list(given) != names:
        raise ValueError(
            f"models of rule 'learned' must name {', '.join(names):.200}; they name {', '.join(given):.200}"
        )
    return tuple(model_from_json(name, given[name], len(names) + 1 - k) for k, name in enumerate(names))


def _require_sizes(route: Learned, n_side: int) -> None:
    needed = max(n_side - 1 - route.start, 0)
    if len(route.models) != needed:
        raise ValueError(
            f"rule 'learned' from exit_{route.start + 1} needs {needed} models in a network of {n_side} side exits; "
            f"it has {len(route.models)}"
        )


def _plain(field: str, from_json: Callable[[str, Any], Any]) -> Part:
    return Part(field, from_json, lambda route: getattr(route, field))


CLAMP = {"clamp": _plain("clamp", _truth)}
ENGINE = {"horizon": _plain("horizon", lambda name, value: _whole(name, value, LARGEST_HORIZON))} | CLAMP
AHEAD = _plain("ahead", lambda name, value: _whole(name, value, LARGEST_EXIT))
SEED = _plain("seed", lambda name, value: _whole(name, value, 2**53, 0))
PLACED = Part("exits", _exits, lambda route: [number + 1 for number in route.exits])
WEIGHTS = Part("weights", _weights, lambda route: list(route.weights))
MODELS = Part(
    "models",
    _mapping,
    lambda route: {f"exit_{route.start + k + 1}": model.to_json() for k, model in enumerate(route.models)},
)
ROUTES: dict[str, Kind] = {
    EveryExit.name: Kind(EveryExit, {}),
    Placed.name: Kind(Placed, {"exits": PLACED}),
    Predictive.name: Kind(Predictive, ENGINE),
    SingleJump.name: Kind(SingleJump, ENGINE),
    ConstantJump.name: Kind(ConstantJump, {"ahead": AHEAD} | CLAMP),
    RandomJump.name: Kind(RandomJump, {"weights": WEIGHTS, "seed": SEED} | CLAMP),
    Learned.name: Kind(Learned, {"models": MODELS}),
}
