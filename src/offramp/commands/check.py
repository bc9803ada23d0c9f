"""`offramp check`: a logit cache, parameters or policies; with `--val` every certificate is derived again."""

import argparse
import sys
from pathlib import Path
from typing import Any

from offramp.commands.options import add_command
from offramp.project.errors import InputError


def add(commands: Any) -> None:
    check = add_command(commands, "check", "check a logit cache (Parquet), policies (.json) or parameters (.yaml)")
    check.add_argument("file", type=Path, help="a Parquet file or a directory of them, policies.json or params.yaml")
    check.add_argument("--val", type=Path, help="validation cache, to derive every certificate in FILE again from it")
    check.add_argument("--costs", type=Path, help="with --val: the costs that the certificates must have used")
    check.add_argument("--fresh", type=Path, help="logit cache of rows never used, to test the selected policy on")
    check.add_argument("--unlabelled", type=Path, help="with --fresh: CSV to write, the rows whose label is missing")
    check.set_defaults(run=run)


def run(options: argparse.Namespace) -> int | None:
    path: Path = options.file
    if path.suffix != ".json" and (options.val or options.costs or options.fresh):
        raise InputError(f"--val, --costs and --fresh go with policies (.json); {path} is none")
    if options.unlabelled and not options.fresh:
        raise InputError("--unlabelled goes with --fresh: it lists the rows there whose label the test needs")
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
        return _check_fresh(path, options)
    if options.val is not None:
        from offramp.check import recheck

        report = recheck(path, options.val, options.costs)
        print(report.text)
        return int(not report.passed)
    if options.costs is not None:
        raise InputError("--costs goes with --val: they are compared with those in the certificates")
    from offramp.policies.file import read_policies
    from offramp.policies.text import describe

    print(describe(read_policies(path)))
    return 0


def _check_fresh(path: Path, options: argparse.Namespace) -> int:
    from offramp.check import MissingLabelsError, recheck_fresh
    from offramp.project.tables import write_table

    try:
        fresh = recheck_fresh(path, options.fresh, options.val)
    except MissingLabelsError as error:
        if options.unlabelled is None:
            raise InputError(f"{error} (--unlabelled FILE lists them all)") from None
        write_table(options.unlabelled, ["sample"], [{"sample": sample} for sample in error.samples])
        raise InputError(f"{error} ({options.unlabelled} lists them all)") from None
    print(fresh.text)
    if options.val is None:
        print("not compared with the validation rows; --val makes sure that none of them is among these")
    return int(not fresh.passed)


def _check_params(path: Path) -> None:
    from offramp.data.params import Pictures
    from offramp.networks.factory_source import factory_files
    from offramp.networks.training.params import seen_images_warning
    from offramp.params import read_project
    from offramp.project.inputs import named_files, require_files

    project = read_project(path)
    require_files([*named_files(project.dataset, project.network), *factory_files(project.network)])
    val_from = project.dataset.val_from if isinstance(project.dataset, Pictures) else None
    warning = seen_images_warning(project.network, project.model.name, project.data.name, val_from)
    if warning is not None:
        print(warning, file=sys.stderr)
    from offramp.data import sources

    sources.check(project.data.name, project.dataset, project.seed)
    print(f"{path}: data set {project.data.name}, model {project.model.name}")


def _check_cache(path: Path) -> None:
    from offramp.cache.reading import open_cache
    from offramp.policies.outcomes import read_outcomes
    from offramp.scores.scoring import Scoring

    cache = open_cache(path)
    outcomes = read_outcomes(cache, Scoring.plain("entropy", cache.exits), labels_required=False)
    known = int(outcomes.labelled.sum())
    print(f"{path}: {len(outcomes)} samples, {known} labels, {cache.n_classes} classes, {len(cache.exits)} exits")
    if known:
        labelled = outcomes.correct[outcomes.labelled]
        print("accuracy at the exits " + " ".join(f"{accuracy:.4f}" for accuracy in labelled.mean(axis=0)))
