"""`offramp calibrate` and `offramp labels`: thresholds from a validation cache, and which of its rows need a label."""

import argparse
from pathlib import Path
from typing import Any

from offramp.commands.options import add_command, at_least_one, calibration_options, keys, parameters


def add(commands: Any) -> None:
    calibrate = add_command(commands, "calibrate", "choose thresholds on a validation cache", keys())
    calibration_options(calibrate)
    calibrate.add_argument("--out", type=Path, required=True, help="policies.json to write")
    calibrate.set_defaults(run=run)


def add_labels(commands: Any) -> None:
    purpose = "list the validation rows whose label the next certificate test needs"
    labels = add_command(commands, "labels", purpose, keys())
    calibration_options(labels)
    labels.add_argument("--out", type=Path, required=True, help="CSV to write: step, sample")
    labels.add_argument("--ahead", type=at_least_one, default=1, metavar="N", help="of the next N tests; default 1")
    labels.set_defaults(run=run_labels)


def run(options: argparse.Namespace) -> None:
    from offramp.calibration import calibrate_cache
    from offramp.calibration.routes import untimed
    from offramp.policies.costs import read_costs
    from offramp.policies.file import write_policies
    from offramp.policies.text import describe

    chosen = parameters(options)
    costs = read_costs(options.costs, chosen.calibrate.latency.row)
    policies = calibrate_cache(options.val, costs, chosen.settings())
    write_policies(options.out, policies)
    print(describe(policies))
    if note := untimed(chosen.calibrate.methods, costs):
        print(note)
    if not costs.refunds_disabled_heads:
        print(f"{options.costs} holds no separate head costs: a disabled exit's head refunds nothing")


def run_labels(options: argparse.Namespace) -> None:
    from offramp.calibration import make_problem, read_validation
    from offramp.calibration.labels import describe, next_labels, write_labels
    from offramp.policies.costs import read_costs

    chosen = parameters(options)
    costs, settings = read_costs(options.costs, chosen.calibrate.latency.row), chosen.settings()
    outcomes, scoring = read_validation(options.val, costs, settings)
    problem = make_problem(outcomes, costs, scoring, settings)
    request = next_labels(problem, chosen.calibrate.max_loss, options.ahead)
    write_labels(options.out, request)
    print(describe(request))
