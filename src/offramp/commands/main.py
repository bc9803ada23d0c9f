"""The command line, `offramp COMMAND`; each command is a module of `offramp.commands`. Starts without torch.

Exit status 0; 1 where `check` refutes a certificate; 2 with one line on stderr for what the user got wrong; 130 after
an interruption.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from offramp import __version__
from offramp.commands import calibrate, cheapest, check, costs, evaluate, export, plan, predict
from offramp.project.errors import InputError

COMMANDS = (
    *(check.add, calibrate.add, evaluate.add, calibrate.add_labels, evaluate.add_reliability, plan.add),
    *(cheapest.add, costs.add, export.add, predict.add),
)
INPUTS = ("val", "test", "costs", "policies", "params", "fresh", "file")  # options that name a file to read
INTERRUPTED = 130  # as shells report it: 128 + SIGINT


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        options = _parser().parse_args(arguments)
        _require_file(options, "out")
        _require_file(options, "unlabelled")
        status: int | None = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # who reads our output, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (InputError, OSError) as error:  # OSError: a place that cannot be written to, for one
        print(f"offramp: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("offramp: interrupted", file=sys.stderr)
        return INTERRUPTED
    return status or 0


def _require_file(options: argparse.Namespace, name: str) -> None:
    """Raise InputError where the file to write is a directory or one of the command's own inputs."""
    out = getattr(options, name, None)
    if not isinstance(out, Path):
        return
    if out.is_dir() or not out.name:
        raise InputError(f"--{name} must name a file to write; {out} is a directory")
    for other in INPUTS:
        given = getattr(options, other, None)
        if isinstance(given, Path) and given.resolve() == out.resolve():
            raise InputError(f"--{name} must name another file than {_option(other)}; both are {out}")


def _option(name: str) -> str:
    return "the file to check" if name == "file" else f"--{name}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="offramp", description="Calibrated early exits from cached logits.")
    parser.add_argument("--version", action="version", version=f"offramp {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in COMMANDS:
        add(commands)
    return parser
