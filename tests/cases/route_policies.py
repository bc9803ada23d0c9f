"""Caches of a network of six exits, and the policies of every route that was calibrated for it."""

import numpy as np

from cases.graded import graded_logits
from offramp.cache.reading import open_cache
from offramp.cache.writing import write_logits
from offramp.calibration import calibrate_cache
from offramp.calibration.settings import RouteSettings, Settings
from offramp.policies.costs import from_parts, write_costs
from offramp.policies.file import write_policies
from offramp.policies.methods import METHODS
from offramp.policies.outcomes import read_outcomes
from offramp.policies.routes.learned import Learned
from offramp.policies.routes.routes import Predictive
from offramp.policies.routes.rule import RouteRule, joint_look

EXITS, CLASSES = 6, 4
NAMES = [f"exit_{k + 1}" for k in range(EXITS)]
SEGMENT, HEAD = [20.0] * EXITS, [9.0] * (EXITS - 1) + [4.0]
COSTS = from_parts("macs", SEGMENT, HEAD)
STRENGTH = tuple(np.linspace(3, 8, EXITS))
WITH = RouteSettings(cuts=25, placement=0.9)
WANTED = [(method, 0.05 if method.startswith("certified") else 0.8) for method in METHODS if METHODS[method].route]
SETTINGS = Settings(WANTED, ("predictive", 0.8), score="activation", predictive=WITH)


def write_route_case(path):
    """Write two caches, costs, and the policies of every route by score activation."""
    for name, seed in (("val", 5), ("test", 6)):
        write_logits(path / f"{name}.parquet", *graded_logits(seed, 1000, STRENGTH))
    write_costs(path / "costs.json", NAMES, [int(s) for s in SEGMENT], [int(h) for h in HEAD])
    write_policies(path / "p.json", calibrate_cache(path / "val.parquet", COSTS, SETTINGS))


def logits_of(path):
    rows = list(open_cache(path).read())
    return tuple(np.concatenate([getattr(row, name) for row in rows]) for name in ("logits", "label", "sample"))


def everything(scoring, path):
    rules = [RouteRule(Predictive(), -1.0), RouteRule(fit_none(), -1.0)]
    return read_outcomes(open_cache(path), scoring, look=joint_look(rules, scoring, CLASSES))


def fit_none():
    """A learned route that looks nowhere: its Look reads the predictors."""
    return Learned(start=EXITS - 1, cut=-1.0, models=())


def entry(content, method):
    return next(each for each in content["policies"] if each["method"] == method)


def arguments(method, **values):
    return lambda content: entry(content, method)["arguments"].update(values)
