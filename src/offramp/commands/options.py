"""What several commands share: how a command is declared, and the options of calibration."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from offramp.policies.methods import METHODS, TARGET_LABELS
from offramp.project.errors import InputError
from offramp.scores.activation import STATISTICS
from offramp.scores.registry import SCORES

if TYPE_CHECKING:
    from offramp.calibration.params import Calibration

COSTS_HELP = "cost of every exit: a file like metrics/costs.json (MACs) or metrics/latency.json (ms)"
INDENT = " " * 27  # of the second column of `keys`
KEYS = """\
what --set changes, most used first:
{methods}
{targets}
  calibrate.delta          chance that a certificate is wrong
  calibrate.select         the policy to deploy, e.g. '{{method: certified, target: 0.01}}'
  calibrate.latency        which times, where --costs is a latency file, e.g. '{{engine: torch, batch_size: 64}}'
  calibrate.batch          the batches of method batch, e.g. '{{batch_size: 64, reduce: mean}}'
  calibrate.predictive     of routes, e.g. '{{start: 2, horizon: 8}}'; start: auto tries every exit
{scores}
{statistics}
  uncertainty.temperature  none or per_exit
also calibrate.tune_fraction, fold_seed, simultaneous, family, test, conformal
"""


def keys() -> str:
    """Return the help on the keys of `--set`, with the methods and scores that are registered."""
    methods: dict[str, list[str]] = {}
    for method in METHODS.values():
        methods.setdefault(method.label, []).append(method.name)
    listed = "; ".join(f"{', '.join(names)} ({label})" for label, names in methods.items())
    lists = dict.fromkeys(method.targets for method in METHODS.values())
    takers = {key: [name for name, method in METHODS.items() if method.targets == key] for key in lists}
    about = {key: f"list: {TARGET_LABELS[key]}, of {', '.join(names)}" for key, names in takers.items()}
    return KEYS.format(
        methods=_entry("calibrate.methods", f"list of: {listed}"),
        targets="\n".join(_entry(f"calibrate.{key}", text) for key, text in about.items()),
        scores=_entry("uncertainty.score", ", ".join(SCORES)),
        statistics=_entry("uncertainty.statistic", f"of activation: {', '.join(STATISTICS)}"),
    )


def _entry(key: str, text: str) -> str:
    first = f"  {key}".ljust(len(INDENT))
    return fill(text, 116, initial_indent=first, subsequent_indent=INDENT, break_on_hyphens=False)


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
    from offramp.calibration.params import read_calibration

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
    from offramp.project.yaml import YAMLError, parse_yaml

    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set takes KEY=VALUE, as in --set calibrate.targets='[0.9]'; got {text!r}")
    try:
        return key, parse_yaml(value)
    except YAMLError:
        raise InputError(f"--set {key}: {value!r} is not a YAML value") from None


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Turn the failed import of a package of somebody else's into an InputError that names the extra to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("offramp"):
            raise
        raise InputError(f"this needs {error.name}, which is not installed: pip install 'offramp[{extra}]'") from None
