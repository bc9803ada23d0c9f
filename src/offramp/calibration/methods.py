"""How each method of calibration chooses. A new one is a module that calls `register`; its facts are a `Method`."""

from collections.abc import Callable
from functools import partial

from offramp.calibration.certified import certified, certified_overall
from offramp.calibration.certified_per_exit import certified_per_exit
from offramp.calibration.certified_routes import certified_route
from offramp.calibration.conformal import conformal
from offramp.calibration.overall_and_budget import budget, overall
from offramp.calibration.per_exit import per_exit
from offramp.calibration.problem import Problem
from offramp.calibration.routes import choose
from offramp.calibration.shared import batch, shared
from offramp.policies import methods
from offramp.policies.methods import METHODS, Method
from offramp.policies.policy import Policy

Calibrator = Callable[[Problem, float], Policy]  # what it is chosen from, the target -> a policy without its name
CALIBRATORS: dict[str, Calibrator] = {}


def register(method: Method, calibrator: Calibrator) -> None:
    """Add a method: its facts, unless these are registered already, and how it chooses.

    Raises ValueError for a name that is taken.
    """
    if METHODS.get(method.name) is not method:
        methods.register(method)
    CALIBRATORS[method.name] = calibrator


def _batch(problem: Problem, target: float) -> Policy:
    settings = problem.settings
    return batch(problem.outcomes, problem.costs, target, settings.batch_size, settings.batch_reduce)


def _route(name: str, problem: Problem, target: float) -> Policy:
    return choose(problem.routes, name, target)


register(methods.PER_EXIT, lambda problem, target: per_exit(problem.outcomes, problem.costs, target))
register(methods.SHARED, lambda problem, target: shared(problem.outcomes, problem.costs, target))
register(methods.OVERALL, lambda problem, target: overall(problem.joint, target))
register(methods.BATCH, _batch)
register(methods.BUDGET, lambda problem, target: budget(problem.joint, target))
register(methods.CERTIFIED, certified)
register(methods.CERTIFIED_OVERALL, certified_overall)
register(methods.CERTIFIED_PER_EXIT, certified_per_exit)
register(methods.CONFORMAL, conformal)
for _method in methods.ROUTE_METHODS:
    register(_method, partial(_route, _method.route or ""))
for _method in methods.CERTIFIED_ROUTES:
    register(_method, partial(certified_route, _method.route or ""))
