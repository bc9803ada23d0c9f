"""What tests of live routes share: the first layers of a narrow VGG-19, exported once per process, and routes on it."""

import functools

import numpy as np
import torch

from cases.networks import images
from offramp.networks.file import Description
from offramp.networks.registry import build
from offramp.policies.costs import from_parts
from offramp.policies.outcomes import observe
from offramp.policies.policy import Policy
from offramp.policies.routes.jumps import ConstantJump, RandomJump
from offramp.policies.routes.learned import fit_learned
from offramp.policies.routes.observed import Look
from offramp.policies.routes.routes import EveryExit, Placed, Predictive, SingleJump
from offramp.policies.routes.rule import RouteRule, route_rule
from offramp.runtime.engines.exporting import export
from offramp.runtime.engines.onnx import OnnxEngine
from offramp.scores.activation import ACTIVATION, Activation, thresholds_of
from offramp.scores.scoring import Scoring

N, N_EXITS, SHAPE, CLASSES = 60, 6, (3, 32, 32), list("abcde")
EXITS = [f"exit_{k}" for k in range(1, N_EXITS + 1)]
IDS = np.arange(N) * 3 + 7
COSTS = from_parts("macs", [50.0] * N_EXITS, [9.0] * N_EXITS)
NAMES = ("every_exit", "placed", "predictive", "unclamped", "single_jump", "constant_jump", "random_jump", "learned")


@functools.cache
def network():
    """Return five side exits and a final one, untrained, of which each image makes something else."""
    torch.manual_seed(0)
    narrow = build("vgg19_bn", {"width": 0.125}, SHAPE, len(CLASSES))
    narrow.stages = narrow.stages[:N_EXITS]
    for module in narrow.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=0.3)
    with torch.no_grad():
        narrow.train()(torch.from_numpy(images(64)).permute(0, 3, 1, 2) / 255)
    return narrow.eval()


@functools.cache
def graph():
    return export(network(), Description("narrow", "vgg19_bn", {"width": 0.125}, list(SHAPE), CLASSES), "0" * 64)


@functools.cache
def engine():
    return OnnxEngine(graph(), threads=2)


def cached(of, batch_size, pictures=None):
    """Return every exit's logits, in batches, as a cache of this engine holds them."""
    pictures = images(N) if pictures is None else pictures
    starts = range(0, len(pictures), batch_size)
    return np.concatenate([of.exit_logits(pictures[start : start + batch_size]) for start in starts])


@functools.cache
def logits():
    return cached(engine(), 1)


@functools.cache
def scoring():
    return Scoring(ACTIVATION, dict.fromkeys(EXITS, 1.0), fitted=activation())


@functools.cache
def activation():
    return Activation(
        thresholds_of(logits().shape[1], [(logits(), np.zeros(N, np.int64))], "mean_max"), statistic="mean_max"
    )


@functools.cache
def cut():
    """Return a cut in a wide gap of uncertainties, at which about one look in seven is the last."""
    found = np.sort(table().uncertainty[:, :-1].ravel())
    near = found[len(found) // 7 - 15 : len(found) // 7 + 15]
    place = np.diff(near).argmax()
    return float(near[place : place + 2].mean())


@functools.cache
def table():
    return observe(Look(activation(), 8, predictors=True), logits(), np.zeros(N, np.int64), IDS)


def route(name):
    return {
        "every_exit": EveryExit(start=1),
        "placed": Placed(exits=(1, 3)),
        "predictive": Predictive(start=1, horizon=3),
        "unclamped": Predictive(start=0, horizon=8, clamp=False),
        "single_jump": SingleJump(start=0, horizon=4),
        "constant_jump": ConstantJump(start=0, ahead=2),
        "random_jump": RandomJump(start=0, weights=(1.0, 2.0, 1.0)),
        "learned": fit_learned(table(), cut(), COSTS, 0),
    }[name]


def policy(name):
    """Return a route of NAMES as a policy that went through policies.json's `rule` and `arguments`."""
    rule = RouteRule(route(name), cut())
    rule = route_rule(rule.name, rule.arguments)
    return Policy(rule.thresholds(N_EXITS), rule, scoring(), title=f"{name}@0.9")
