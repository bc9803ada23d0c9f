"""`offramp evaluate` and `offramp reliability`: what policies and probabilities are worth on a test cache."""

import argparse
from pathlib import Path
from typing import Any

from offramp.commands.options import COSTS_HELP, add_command, parameter_options, parameters


def add(commands: Any) -> None:
    evaluate = add_command(commands, "evaluate", "replay policies on a test cache, with confidence intervals")
    evaluate.add_argument("--test", type=Path, required=True, help="logit cache of the test split")
    evaluate.add_argument("--costs", type=Path, required=True, help=COSTS_HELP)
    evaluate.add_argument("--policies", type=Path, required=True, help="policies.json")
    evaluate.add_argument("--out", type=Path, required=True, help="evaluation.json to write")
    evaluate.set_defaults(run=run)


def add_reliability(commands: Any) -> None:
    purpose = "calibration error of every exit, before and after temperature scaling"
    reliability = add_command(commands, "reliability", purpose)
    reliability.add_argument("--val", type=Path, required=True, help="logit cache whose tune fold fits temperatures")
    reliability.add_argument("--test", type=Path, required=True, help="logit cache on which errors are measured")
    reliability.add_argument("--out", type=Path, required=True, help="reliability.json to write")
    parameter_options(reliability)
    reliability.set_defaults(run=run_reliability)


def run(options: argparse.Namespace) -> None:
    """Replay the policies; of a latency file the row they were chosen for counts, else the documented default."""
    from offramp.evaluation.results import describe, evaluate_policies, read_test
    from offramp.policies.costs import LatencyRow, read_costs
    from offramp.policies.file import read_policies
    from offramp.project.files import DIGITS, write_json

    policies = read_policies(options.policies)
    costs = read_costs(options.costs, policies.cost_row or LatencyRow())
    outcomes = read_test(options.test, policies, costs)
    evaluation = evaluate_policies(policies, outcomes, costs).evaluation
    write_json(options.out, evaluation, digits=DIGITS)
    print(describe(policies, evaluation))
    if costs.row is not None:
        default = "" if policies.cost_row else " (the default row: the policies name none)"
        print(f"times of {costs.row}, from {options.costs}{default}")
    elif policies.costs is not None and not costs.measured:
        print(f"the share of time is modelled from the times in {options.policies}")


def run_reliability(options: argparse.Namespace) -> None:
    from offramp.evaluation.reliability import describe, write_reliability

    folds = parameters(options).calibrate
    result = write_reliability(options.val, options.test, options.out, None, folds.tune_fraction, folds.fold_seed)
    print(describe(result))
