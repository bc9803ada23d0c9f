"""What several commands share: how a command is declared, and the options of calibration."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from offramp.errors import InputError

if TYPE_CHECKING:
    from offramp.params.calibration import Calibration

COSTS_HELP = "cost of every exit: a file like metrics/costs.json (MACs) or metrics/latency.json (ms)"
KEYS = """\
what --set changes, most used first:
  calibrate.methods        list of: certified (loss proved), overall, shared, per_exit (accuracy), budget (cost),
                           certified_overall, certified_per_exit (accuracy proved), conformal (mean loss),
                           batch (accuracy; whole batches leave together); routes that skip heads: every_exit, placed,
                           predictive, single_jump, constant_jump, random_jump, learned (accuracy), and
                           certified_every_exit, _placed, _predictive, _single_jump, _learned (loss proved)
  calibrate.max_loss       list: accuracy given up against the full network (certified, conformal, certified routes)
  calibrate.targets        list: accuracies (overall, shared, per_exit, batch, certified_overall, certified_per_exit,
                           routes)
  calibrate.budgets        list: mean cost, a fraction of the full network's (budget)
  calibrate.delta          chance that a certificate is wrong
  calibrate.select         the policy to deploy, e.g. '{method: certified, target: 0.01}'
  calibrate.latency        which times, where --costs is a latency file, e.g. '{engine: torch, batch_size: 64}'
  calibrate.batch          the batches of method batch, e.g. '{batch_size: 64, reduce: mean}'
  calibrate.predictive     of routes, e.g. '{start: 2, horizon: 8}'; start: auto tries every exit
  uncertainty.score        entropy, least_confidence, margin, energy, change, or activation (threshold −β)
  uncertainty.statistic    of activation: mean_max, mean_abs, winning_correct or signed_mean
  uncertainty.temperature  none or per_exit
also calibrate.tune_fraction, fold_seed, simultaneous, family, test, conformal
"""


def add_command(commands: Any, name: str, purpose: str, epilog: str = "") -> argparse.ArgumentParser:
    """Return a new command's parser; `purpose` stands in the list of commands and heads its own help."""
    layout = argparse.RawDescriptionHelpFormatter
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.", epilog=epilog, formatter_class=layout
    )
    return parser


def calibration_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--val", type=Path, required=True, help="logit cache of the validation split")
    command.add_argument("--costs", type=Path, required=True, help=COSTS_HELP)
    parameter_options(command)


def parameter_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--params", type=Path, help="default: ./params.yaml, else the documented defaults")
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. --set calibrate.targets='[0.9]'"
    )


def parameters(options: argparse.Namespace) -> "Calibration":
    """Return what --params and --set ask for."""
    from offramp.params.calibration import read_calibration

    return read_calibration(options.params, dict(_assignment(text) for text in options.set))


def at_least_one(text: str) -> int:
    """Return a whole number, at least 1 (an argparse type)."""
    return _whole(text, None)


def up_to(largest: int) -> Callable[[str], int]:
    """Return an argparse type: a whole number from 1 to `largest`."""
    return lambda text: _whole(text, largest)


def _whole(text: str, largest: int | None) -> int:
    if not text.isdecimal() or int(text) < 1 or (largest is not None and int(text) > largest):
        allowed = "at least 1" if largest is None else f"from 1 to {largest}"
        raise argparse.ArgumentTypeError(f"must be a whole number, {allowed}; got {text!r}")
    return int(text)


def _assignment(text: str) -> tuple[str, object]:
    from offramp.params.reading import parse_yaml

    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set takes KEY=VALUE, as in --set calibrate.targets='[0.9]'; got {text!r}")
    try:
        return key, parse_yaml(value)
    except yaml.YAMLError:
        raise InputError(f"--set {key}: {value!r} is not a YAML value") from None
