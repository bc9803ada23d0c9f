"""The command line: `offramp check`, `calibrate`, `evaluate`, `labels`, `plan`, `reliability`. Starts without torch.

Exit status 0; 1 where `check` refutes a certificate; 2 with one line on stderr for what the user got wrong.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from offramp import __version__
from offramp.errors import InputError

if TYPE_CHECKING:
    from offramp.params.calibration import Calibration

COSTS_HELP = "cost of every exit, like metrics/costs.json"
KEYS = """\
what --set changes, most used first:
  calibrate.methods        list of: certified (loss proved), overall, shared, per_exit (accuracy), budget (cost),
                           certified_overall, certified_per_exit (accuracy proved), conformal (mean loss)
  calibrate.max_loss       list: accuracy given up against the full network (certified, conformal)
  calibrate.targets        list: accuracies (overall, shared, per_exit, certified_overall, certified_per_exit)
  calibrate.budgets        list: mean cost, a fraction of the full network's (budget)
  calibrate.delta          chance that a certificate is wrong
  calibrate.select         the policy to deploy, e.g. '{method: certified, target: 0.01}'
  uncertainty.score        entropy, least_confidence, margin, energy or change
  uncertainty.temperature  none or per_exit
also calibrate.tune_fraction, fold_seed, simultaneous, family, test, conformal
"""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        _require_file(options)
        status: int | None = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # who reads our output, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (InputError, OSError) as error:  # OSError: a place that cannot be written to, for one
        print(f"offramp: {error}", file=sys.stderr)
        return 2
    return status or 0


def _require_file(options: argparse.Namespace) -> None:
    """Raise InputError where --out is a directory or one of the command's own inputs."""
    out: Path | None = getattr(options, "out", None)
    if out is None:
        return
    if out.is_dir() or not out.name:
        raise InputError(f"--out must name a file to write; {out} is a directory")
    for name in ("val", "test", "costs", "policies", "params"):
        given = getattr(options, name, None)
        if given is not None and given.resolve() == out.resolve():
            raise InputError(f"--out must name another file than --{name}; both are {out}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="offramp", description="Calibrated early exits from cached logits.")
    parser.add_argument("--version", action="version", version=f"offramp {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_add_check, _add_calibrate, _add_evaluate, _add_labels, _add_reliability, _add_plan):
        add(commands)
    return parser


def _add_check(commands: Any) -> None:
    check = _add(commands, "check", "check a logit cache (Parquet), policies (.json) or parameters (.yaml)")
    check.add_argument("file", type=Path, help="a Parquet file or a directory of them, policies.json or params.yaml")
    check.add_argument("--val", type=Path, help="validation cache, to derive every certificate in FILE again from it")
    check.add_argument("--costs", type=Path, help="with --val: the costs that the certificates must have used")
    check.add_argument("--fresh", type=Path, help="logit cache of rows never used, to test the selected policy on")
    check.set_defaults(run=_check)


def _add_calibrate(commands: Any) -> None:
    calibrate = _add(commands, "calibrate", "choose thresholds on a validation cache", KEYS)
    _calibration_options(calibrate)
    calibrate.add_argument("--out", type=Path, required=True, help="policies.json to write")
    calibrate.set_defaults(run=_calibrate)


def _add_evaluate(commands: Any) -> None:
    evaluate = _add(commands, "evaluate", "replay policies on a test cache, with confidence intervals")
    evaluate.add_argument("--test", type=Path, required=True, help="logit cache of the test split")
    evaluate.add_argument("--costs", type=Path, required=True, help=COSTS_HELP)
    evaluate.add_argument("--policies", type=Path, required=True, help="policies.json")
    evaluate.add_argument("--out", type=Path, required=True, help="evaluation.json to write")
    evaluate.set_defaults(run=_evaluate)


def _add_labels(commands: Any) -> None:
    labels = _add(commands, "labels", "list the validation rows whose label the next certificate test needs", KEYS)
    _calibration_options(labels)
    labels.add_argument("--out", type=Path, required=True, help="CSV to write: step, sample")
    labels.add_argument("--ahead", type=_at_least_one, default=1, metavar="N", help="of the next N tests; default 1")
    labels.set_defaults(run=_labels)


def _add_reliability(commands: Any) -> None:
    reliability = _add(commands, "reliability", "calibration error of every exit, before and after temperature scaling")
    reliability.add_argument("--val", type=Path, required=True, help="logit cache whose tune fold fits temperatures")
    reliability.add_argument("--test", type=Path, required=True, help="logit cache on which errors are measured")
    reliability.add_argument("--out", type=Path, required=True, help="reliability.json to write")
    _parameter_options(reliability)
    reliability.set_defaults(run=_reliability)


def _add_plan(commands: Any) -> None:
    plan = _add(commands, "plan", "what loss a number of labelled rows can certify, before labelling them")
    plan.add_argument("--max-loss", type=float, default=0.01, help="accuracy that may be lost; default 0.01, one point")
    plan.add_argument("--delta", type=float, default=0.1, help="chance, at most, of a wrong certificate; default 0.1")
    plan.add_argument("--labels", type=int, help="certify rows that you could label")
    plan.add_argument("--discordance", type=float, help="share of rows where just one of early and full is right")
    plan.add_argument("--power", type=float, default=0.8, help="chance to certify a loss-free policy; default 0.8")
    plan.add_argument("--figure", type=Path, help="draw the picture here: .png, .svg or .pdf")
    plan.set_defaults(run=_plan)


def _add(commands: Any, name: str, purpose: str, epilog: str = "") -> argparse.ArgumentParser:
    """Return a new command's parser; `purpose` stands in the list of commands and heads its own help."""
    layout = argparse.RawDescriptionHelpFormatter
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.", epilog=epilog, formatter_class=layout
    )
    return parser


def _calibration_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--val", type=Path, required=True, help="logit cache of the validation split")
    command.add_argument("--costs", type=Path, required=True, help=COSTS_HELP)
    _parameter_options(command)


def _parameter_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--params", type=Path, help="default: ./params.yaml, else the documented defaults")
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. --set calibrate.targets='[0.9]'"
    )


def _check(options: argparse.Namespace) -> int | None:
    path: Path = options.file
    if path.suffix != ".json" and (options.val or options.costs or options.fresh):
        raise InputError(f"--val, --costs and --fresh go with policies (.json); {path} is none")
    match path.suffix:
        case ".yaml" | ".yml":
            _check_params(path)
        case ".json":
            return _check_policies(path, options)
        case _:
            _check_cache(path)
    return None


def _check_policies(path: Path, options: argparse.Namespace) -> int:
    if options.fresh is not None:
        from offramp.recheck import recheck_fresh

        fresh = recheck_fresh(path, options.fresh, options.val)
        print(fresh.text)
        if options.val is None:
            print("not compared with the validation rows; --val makes sure that none of them is among these")
        return int(not fresh.passed)
    if options.val is not None:
        from offramp.recheck import recheck

        report = recheck(path, options.val, options.costs)
        print(report.text)
        return int(not report.passed)
    if options.costs is not None:
        raise InputError("--costs goes with --val: they are compared with those in the certificates")
    from offramp.policies import describe, read_policies

    print(describe(read_policies(path)))
    return 0


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
    from offramp.scoring import Scoring

    cache = open_cache(path)
    outcomes = read_outcomes(cache, Scoring.plain("entropy", cache.exits), labels_required=False)
    known = int(outcomes.labelled.sum())
    print(f"{path}: {len(outcomes)} samples, {known} labels, {cache.n_classes} classes, {len(cache.exits)} exits")
    if known:
        labelled = outcomes.correct[outcomes.labelled]
        print("accuracy at the exits " + " ".join(f"{accuracy:.4f}" for accuracy in labelled.mean(axis=0)))


def _calibrate(options: argparse.Namespace) -> None:
    from offramp.calibration import calibrate_cache
    from offramp.costs import read_costs
    from offramp.policies import describe, write_policies

    costs = read_costs(options.costs)
    policies = calibrate_cache(options.val, costs, _parameters(options).settings())
    write_policies(options.out, policies)
    print(describe(policies))
    if not costs.refunds_disabled_heads:
        print(f"{options.costs} holds no separate head costs: a disabled exit's head refunds nothing")


def _labels(options: argparse.Namespace) -> None:
    from offramp.calibration import pose, read_validation
    from offramp.calibration.labelling import describe, next_labels, write_labels
    from offramp.costs import read_costs

    parameters, costs = _parameters(options), read_costs(options.costs)
    outcomes, scoring = read_validation(options.val, costs, parameters.settings())
    problem = pose(outcomes, costs, scoring, parameters.settings())
    request = next_labels(problem, parameters.calibrate.max_loss, options.ahead)
    write_labels(options.out, request)
    print(describe(request))


def _reliability(options: argparse.Namespace) -> None:
    from offramp.reliability import describe, write_reliability

    folds = _parameters(options).calibrate
    result = write_reliability(options.val, options.test, options.out, None, folds.tune_fraction, folds.fold_seed)
    print(describe(result))


def _evaluate(options: argparse.Namespace) -> None:
    from offramp.costs import read_costs
    from offramp.evaluation import describe, read_test, write_evaluation
    from offramp.policies import read_policies

    policies, costs = read_policies(options.policies), read_costs(options.costs)
    outcomes = read_test(options.test, policies, costs)
    print(describe(policies, write_evaluation(options.out, policies, outcomes, costs)))


def _plan(options: argparse.Namespace) -> None:
    from offramp.figures.planning import check_suffix, draw_plan
    from offramp.planning import Plan, describe, table

    plan = Plan(options.max_loss, options.delta, options.labels, options.discordance, options.power)
    if options.figure is not None:
        check_suffix(options.figure)
    print(describe(plan, table(plan)))
    if options.figure is not None:
        draw_plan(options.figure, plan)


def _parameters(options: argparse.Namespace) -> "Calibration":
    from offramp.params.calibration import read_calibration

    return read_calibration(options.params, dict(_assignment(text) for text in options.set))


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 1; got {text!r}")
    return int(text)


def _assignment(text: str) -> tuple[str, object]:
    from offramp.params.reading import _YamlLoader

    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set takes KEY=VALUE, as in --set calibrate.targets='[0.9]'; got {text!r}")
    try:
        return key, yaml.load(value, Loader=_YamlLoader)  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError:
        raise InputError(f"--set {key}: {value!r} is not a YAML value") from None
