"""Predictive Exit on VGG-19 and ResNet-34, trained in two phases: results/predictive/NAME/.

Command: `python -m experiments.predictive_vgg [narrow | vgg19 | resnet34 …] [--folder FOLDER]`; narrow without a name.
Sources, stages and params.yaml are copied into FOLDER/NAME (by default a temporary one) and the stages run there as
plain scripts with the parameters below; what a FOLDER already holds is not made again. All routes are then compared
from cached logits, and those chosen for the smallest loss run live beside the full network, on the same images.
`vgg19` and `resnet34` are trained on CIFAR-10, which is downloaded; they need a CUDA device and are left out without.
"""

import argparse
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from offramp.cache.reading import open_cache
from offramp.data.prepared import read_split
from offramp.params import Project, read_project
from offramp.policies.costs import Costs, read_costs
from offramp.policies.policy import FULL, Policy, full_network
from offramp.policies.routes.rule import RouteRule
from offramp.project.files import write_json
from offramp.project.host import describe
from offramp.project.sections import override, validate
from offramp.project.yaml import read_yaml
from offramp.runtime.benchmark.agreement import compare_live
from offramp.runtime.benchmark.caching import Pictures, first_pictures
from offramp.runtime.benchmark.measuring import Measured, time_policies
from offramp.runtime.benchmark.session import heads, paid
from offramp.runtime.engines import open_engine
from offramp.runtime.engines.pieces import Engine
from offramp.runtime.live_routes import runtime_for
from offramp.runtime.timing import spread
from offramp.scores.activation import ACTIVATION, Activation
from offramp.scores.fitting import fit_scoring
from offramp.scores.scoring import Scoring
from studies.predictive_exit.contest import Contest
from studies.predictive_exit.figures import draw_predictive
from studies.predictive_exit.material import Fold
from studies.predictive_exit.params import Predictive, Study
from studies.predictive_exit.results import Comparison, compare_all, material_of, plan_of, write_comparison

RESULTS = Path("results/predictive")
STUDY = Path("studies/predictive_exit/params.yaml")
COPIED = ("src", "stages")
LIVE = ("every_exit", "predictive", "single_jump", "learned")
CUTS = 150
BATCH_SIZES = (1, 64)
REPEATS, IMAGES = 5, 512
STAGES = {  # a stage and the last file that it writes
    "prepare": "data/prepared/test.parquet",
    "train": "metrics/training.json",
    "costs": "metrics/costs.json",
    "logits val": "data/logits/val.parquet",
    "logits test": "data/logits/test.parquet",
    "export": "models/network.onnx",
}
TWO_PHASE = {"train.mode": "two_phase", "train.freeze_backbone": False, "logits.dtype": "float16"}
AUTHORS = {  # of the backbone and of the exits: adam without decay or schedule; see the README on what differs
    "data.name": "cifar10",
    "train.optimiser": "adam",
    "train.batch_size": 128,
    "train.weight_decay": 0.0,
    "train.epochs": 100,
    "train.backbone_epochs": 100,
    "train.learning_rate": 0.001,
    "train.augment.flip": True,
    "train.augment.crop": 4,
}


@dataclass(frozen=True)
class Run:
    """A network and the parameters that differ from the committed ones."""

    settings: Mapping[str, Any]
    needs_gpu: bool = False


RUNS = {
    "narrow": Run({**TWO_PHASE, "model.name": "vgg19_narrow", "train.epochs": 3, "train.backbone_epochs": 4}),
    "vgg19": Run({**TWO_PHASE, **AUTHORS, "model.name": "vgg19"}, needs_gpu=True),
    "resnet34": Run({**TWO_PHASE, **AUTHORS, "model.name": "resnet34"}, needs_gpu=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*RUNS, []], help="default: narrow")
    parser.add_argument("--folder", type=Path, help="where the stages run; default: a temporary folder")
    options = parser.parse_args()
    for name in options.names or ["narrow"]:
        if RUNS[name].needs_gpu and not _has_gpu():
            print(
                f"{name}: left out for want of a CUDA device; `python -m experiments.predictive_vgg {name}` measures it"
            )
            continue
        with tempfile.TemporaryDirectory() as temporary:
            _measure(name, RUNS[name], (options.folder or Path(temporary)) / name)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _measure(name: str, run: Run, folder: Path) -> None:
    _run_stages(run, folder)
    project = read_project(folder / "params.yaml")
    costs = read_costs(folder / "metrics/costs.json")
    found = _compare(project, costs, folder)
    target = RESULTS / name
    write_comparison(found, target / "predictive.json", target)
    draw_predictive(target)
    for picture in target.glob("*.svg"):
        picture.unlink()
    for file in ("training.json", "costs.json"):
        shutil.copyfile(folder / "metrics" / file, target / file)
    write_json(
        target / "result.json",
        {
            "command": f"python -m experiments.predictive_vgg {name}",
            "host": describe(),
            "settings": dict(run.settings),
            "cuts": CUTS,
            "live": _live(found, project, costs, folder),
        },
    )
    print(f"{name}: see {target}")


def _run_stages(run: Run, folder: Path) -> None:
    """Run the stages whose last file is not there, with the sources that were copied when the folder was made."""
    if not (folder / "params.yaml").exists():
        for part in COPIED:
            shutil.copytree(part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        raw = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
        for key, value in run.settings.items():
            override(raw, key, value)
        (folder / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    for stage, written in STAGES.items():
        if not (folder / written).exists():
            script, *arguments = stage.split()
            _call(folder, script, arguments)


def _call(folder: Path, script: str, arguments: Sequence[str]) -> None:
    import os

    environment = {name: value for name, value in os.environ.items() if name != "DVC_STAGE"}
    environment["PYTHONPATH"] = str((folder / "src").resolve())
    command = [sys.executable, f"stages/{script}.py", *arguments]
    if subprocess.run(command, cwd=folder, env=environment, check=False).returncode:
        sys.exit(f"stage {script} failed in {folder}")


def _compare(project: Project, costs: Costs, folder: Path) -> Comparison:
    """Return the comparison under every activation statistic and the score of params.yaml."""
    params = Predictive.model_validate(
        {**_study().model_dump(), "statistics": ["signed_mean", "mean_max"], "cuts": CUTS}
    )
    val, test = (open_cache(folder / f"data/logits/{split}.parquet") for split in ("val", "test"))
    score = project.uncertainty
    material = material_of(val, test, params, _fold(project), score.score, score.temperature)
    plan = plan_of(params, project.seed, costs, folder / "metrics/latency.json", project.calibrate.latency.row)
    return compare_all(material, costs, plan)


def _study() -> Predictive:
    return validate(Study, read_yaml(STUDY), str(STUDY)).predictive


def _fold(project: Project) -> Fold:
    return Fold(project.calibrate.tune_fraction, project.calibrate.fold_seed)


def _live(found: Comparison, project: Project, costs: Costs, folder: Path) -> dict[str, Any]:
    """Return speed and agreement with replay of the routes chosen for the smallest loss, on ONNX Runtime."""
    engine = open_engine("onnx", project.compute.threads, "cpu", folder / "models")
    pictures = first_pictures(read_split(folder / "data/prepared/test.parquet"), IMAGES)
    policies = _policies(found, project, folder)
    result: dict[str, Any] = {"engine": "onnx", "threads": project.compute.threads, "images": len(pictures.images)}
    result["repeats"] = REPEATS
    for batch_size in BATCH_SIZES:
        result[f"batch_{batch_size}"] = _contest(engine, pictures, policies, costs, batch_size)
    return result


def _policies(found: Comparison, project: Project, folder: Path) -> dict[str, Policy]:
    exits = found.material.exits
    score = project.uncertainty
    plain = Scoring.plain("entropy", exits)
    policies = {FULL: Policy(full_network(len(exits)), scoring=plain, title=FULL)}
    loss = min(contest.max_loss for contest in found.contests)
    for contest in found.contests:
        if contest.max_loss == loss:
            activation = contest.scored.look.score
            if isinstance(activation, Activation):
                scoring = Scoring(ACTIVATION, dict.fromkeys(exits, 1.0), fitted=activation)
            else:
                val = open_cache(folder / "data/logits/val.parquet")
                fold = _fold(project)
                scoring = fit_scoring(val, score.score, score.temperature, fold.tune_fraction, fold.fold_seed)
            policies |= _routes(contest, scoring, len(exits))
    return policies


def _routes(contest: Contest, scoring: Scoring, n_exits: int) -> dict[str, Policy]:
    found = {}
    for name in LIVE:
        if name in contest.compared:
            chosen = contest.compared[name]
            rule = RouteRule(chosen.route, chosen.cut)
            called = f"{contest.scored.name}/{name}"
            found[called] = Policy(rule.thresholds(n_exits), rule, scoring=scoring, title=called)
    return found


def _contest(
    engine: Engine, pictures: Pictures, policies: Mapping[str, Policy], costs: Costs, batch_size: int
) -> dict[str, Any]:
    images = pictures.images
    runtimes = {name: runtime_for(engine, policy) for name, policy in policies.items()}
    starts = range(0, len(images), batch_size)
    logits = np.concatenate([engine.exit_logits(images[start : start + batch_size]) for start in starts])
    measured = time_policies(runtimes, images, batch_size, REPEATS, logits.shape[1], pictures.sample)
    rows = {}
    for name, policy in policies.items():
        rows[name] = _row(policy, measured[name], measured[FULL], pictures, costs, logits)
        print(f"batch {batch_size} {name}: {rows[name]}", flush=True)
    return rows


def _row(
    policy: Policy, measured: Measured, full: Measured, pictures: Pictures, costs: Costs, logits: Any
) -> dict[str, Any]:
    label, taken = measured.label[0], measured.exit[0]
    visited = None if measured.visited is None else measured.visited[0]
    spent = float(paid(policy, taken, visited, costs, logits.shape[2]).mean())
    speedup, low, high = spread(full.seconds / measured.seconds)
    ms = float(np.median(measured.seconds) / len(label) * 1e3)
    agreement = compare_live(label, taken, logits, policy, measured.batch_size, visited=visited, sample=pictures.sample)
    assert math.isfinite(speedup), "every repeat took some time"
    return {
        "accuracy": float((label == pictures.label).mean()),
        "ms_per_sample": ms,
        "speedup": speedup,
        "speedup_low": low,
        "speedup_high": high,
        "mac_speedup": costs.full / spent,
        "heads": heads(policy, taken, visited),
        "mismatches": agreement.mismatches,
    }


if __name__ == "__main__":
    main()
