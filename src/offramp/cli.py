"""The command line: `offramp check`, `calibrate`, `evaluate`. Starts without torch.

Exit status 0; 2 with one line on stderr for what the user got wrong.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from offramp import __version__
from offramp.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except InputError as error:
        print(f"offramp: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="offramp", description="Calibrated early exits from cached logits.")
    parser.add_argument("--version", action="version", version=f"offramp {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    check = commands.add_parser("check", help="check a logit cache (Parquet), policies (.json) or parameters (.yaml)")
    check.add_argument("file", type=Path, help="a Parquet file or a directory of them, policies.json or params.yaml")
    check.set_defaults(run=_check)

    calibrate = commands.add_parser("calibrate", help="choose thresholds on a validation cache")
    calibrate.add_argument("--val", type=Path, required=True, help="logit cache of the validation split")
    calibrate.add_argument("--costs", type=Path, required=True, help="cost of every exit, like metrics/costs.json")
    calibrate.add_argument("--out", type=Path, required=True, help="policies.json to write")
    calibrate.add_argument("--params", type=Path, help="default: ./params.yaml, else the documented defaults")
    calibrate.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. --set calibrate.targets='[0.9]'"
    )
    calibrate.set_defaults(run=_calibrate)

    evaluate = commands.add_parser("evaluate", help="replay policies on a test cache")
    evaluate.add_argument("--test", type=Path, required=True, help="logit cache of the test split")
    evaluate.add_argument("--costs", type=Path, required=True, help="cost of every exit, like metrics/costs.json")
    evaluate.add_argument("--policies", type=Path, required=True, help="policies.json")
    evaluate.add_argument("--out", type=Path, required=True, help="evaluation.json to write")
    evaluate.set_defaults(run=_evaluate)
    return parser


def _check(options: argparse.Namespace) -> None:
    path: Path = options.file
    match path.suffix:
        case ".yaml" | ".yml":
            _check_params(path)
        case ".json":
            from offramp.policies import describe, read_policies

            print(describe(read_policies(path)))
        case _:
            _check_cache(path)


def _check_params(path: Path) -> None:
    from offramp.inputs import named_files, require_files
    from offramp.params.project import read_project

    project = read_project(path)
    require_files(named_files(project.dataset, project.network))
    from offramp import sources

    sources.check(project.data.name, project.dataset, project.seed)
    print(f"{path}: data set {project.data.name}, model {project.model.name}")


def _check_cache(path: Path) -> None:
    from offramp.cache.reading import open_cache
    from offramp.outcomes import read_outcomes

    cache = open_cache(path)
    outcomes = read_outcomes(cache, "entropy", labels_required=False)
    known = int((outcomes.label >= 0).sum())
    print(f"{path}: {len(outcomes)} samples, {known} labels, {cache.n_classes} classes, {len(cache.exits)} exits")
    if known:
        labelled = outcomes.correct[outcomes.label >= 0]
        print("accuracy at the exits " + " ".join(f"{accuracy:.4f}" for accuracy in labelled.mean(axis=0)))


def _calibrate(options: argparse.Namespace) -> None:
    from offramp.calibration import calibrate_cache
    from offramp.costs import read_costs
    from offramp.params.calibration import read_calibration
    from offramp.policies import describe, write_policies

    params = read_calibration(options.params, dict(_assignment(text) for text in options.set))
    costs = read_costs(options.costs)
    if not costs.refunds_disabled_heads:
        print(f"{options.costs} holds no separate head costs: a disabled exit's head refunds nothing", file=sys.stderr)
    chosen = params.calibrate
    select = (chosen.select.method, chosen.select.target)
    policies = calibrate_cache(options.val, costs, params.uncertainty.score, chosen.methods, chosen.targets, select)
    write_policies(options.out, policies)
    print(describe(policies))


def _evaluate(options: argparse.Namespace) -> None:
    from offramp.costs import read_costs
    from offramp.evaluation import describe, read_test, write_evaluation
    from offramp.policies import read_policies

    policies, costs = read_policies(options.policies), read_costs(options.costs)
    outcomes = read_test(options.test, policies, costs)
    print(describe(policies, write_evaluation(options.out, policies, outcomes, costs)))


def _assignment(text: str) -> tuple[str, object]:
    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set takes KEY=VALUE, as in --set calibrate.targets='[0.9]'; got {text!r}")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError:
        raise InputError(f"--set {key}: {value!r} is not a YAML value") from None
