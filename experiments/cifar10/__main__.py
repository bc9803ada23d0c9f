"""Tasks and mistakes of the early-exit literature on CIFAR-10: results/cifar10/NAME/.

Command, for a network whose weights are given and one that is trained here:
    python -m experiments.cifar10 given --train train.parquet --test test.parquet --weights branchynet.pt
    python -m experiments.cifar10 branchynet --train train.parquet --test test.parquet
The Parquet files hold CIFAR-10's images (image struct<bytes, path>, label, class names in the metadata). The last
commit is cloned into a temporary folder, the pipeline runs there with these parameters, and what it measured is kept.
Validation rows come from the test images where the weights are given, as these were trained on the others. Without
arguments, and without OFFRAMP_CIFAR10 (a folder with train.parquet, test.parquet and branchynet.pt), nothing runs.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.cifar10.mistakes import mistakes
from experiments.cifar10.tasks import exits_alone, tasks
from offramp.policies.file import read_policies
from offramp.project.files import write_json
from offramp.project.host import describe

RESULTS = Path("results/cifar10")
TARGETS = "[0.8, 0.85, 0.9, 0.95, 1.0]"  # Task 2's accuracies
KEPT = ["plots/sweep.csv", "plots/tradeoff.csv", "plots/training.csv", "plots/depth.csv", "metrics/evaluation.json"]
KEPT += ["metrics/depth.json", "metrics/smaller.json", "metrics/benchmark.json", "metrics/costs.json"]
KEPT += ["metrics/training.json"]
FIGURES = ["tradeoff.png", "sweep.png", "depth.png", "exits.png"]
COMMON = [
    "data.name=parquet",
    "datasets.parquet.val=5000",
    "datasets.parquet.image_size=32",
    f"calibrate.targets={TARGETS}",
    "calibrate.max_loss=[0.005, 0.01, 0.02, 0.03]",
    "calibrate.methods=[per_exit, shared, overall, certified, budget, batch]",
    "benchmark.samples=5000",
]


@dataclass(frozen=True)
class Run:
    """A network and what makes it: the parameters that differ from the committed ones."""

    model: str
    settings: tuple[str, ...]
    val_from: str


RUNS = {
    "given": Run("branchynet", (), "test"),
    "branchynet": Run("branchynet", ("train.epochs=10", "train.augment={crop: 4, flip: true}"), "train"),
    "resnet18": Run("resnet18", ("train.epochs=30", "train.augment={crop: 4, flip: true}"), "train"),
}


def main() -> None:
    options = _options()
    for name in options.names:
        run = RUNS[name]
        files = {"train": options.train, "test": options.test}
        if name == "given":
            files["weights"] = options.weights
        if any(file is None for file in files.values()):
            print(f"{name}: skipped, for want of " + ", ".join(f"--{key}" for key, file in files.items() if not file))
            continue
        _measure(name, run, {key: Path(file).resolve() for key, file in files.items()})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = os.environ.get("OFFRAMP_CIFAR10")
    inside = {} if folder is None else {key: Path(folder, name) for key, name in _NAMES.items()}
    parser.add_argument("names", nargs="*", choices=[*RUNS, []], help="default: given, branchynet")
    for key, name in _NAMES.items():
        parser.add_argument(f"--{key}", type=Path, default=inside.get(key), help=f"default: $OFFRAMP_CIFAR10/{name}")
    options = parser.parse_args()
    options.names = options.names or ["given", "branchynet"]
    return options


_NAMES = {"train": "train.parquet", "test": "test.parquet", "weights": "branchynet.pt"}


def _measure(name: str, run: Run, files: dict[str, Path]) -> None:
    start = time.perf_counter()
    settings = [*COMMON, f"model.name={run.model}", f"datasets.parquet.val_from={run.val_from}", *run.settings]
    places = {f"datasets.parquet.{key}": files[key] for key in ("train", "test")}
    if "weights" in files:
        places[f"models.{run.model}.weights"] = files["weights"]
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "offramp"
        _run(Path(), "git", "clone", "--quiet", ".", str(clone))
        # What ran before with the same code, parameters and images, training above all, is taken from the cache.
        _run(clone, "dvc", "cache", "dir", "--quiet", "--local", str(Path(".dvc/cache").resolve()))
        changes = settings + [f"{key}={file}" for key, file in places.items()]
        _run(clone, "dvc", "exp", "run", *(part for change in changes for part in ("-S", change)))
        result: dict[str, Any] = {
            "command": f"python -m experiments.cifar10 {name} " + " ".join(f"--{k} {_NAMES[k]}" for k in files),
            "pipeline": "dvc exp run "
            + " ".join(f"-S '{c}'" for c in settings + [f"{k}={v.name}" for k, v in places.items()]),
            "host": describe(),
            "val_from": run.val_from,
            "selected": read_policies(clone / "metrics/policies.json").selected.name,
            "seconds": round(time.perf_counter() - start, 1),
            "exits": exits_alone(clone),
            "tasks": tasks(clone),
            "mistakes": mistakes(clone),
        }
        target = RESULTS / name
        _keep(clone, target)
        write_json(target / "result.json", result)
    print(f"{name}: {result['seconds']:.0f} s, see {target}/result.json")


def _keep(clone: Path, target: Path) -> None:
    """Copy the small results of the pipeline."""
    (target / "figures").mkdir(parents=True, exist_ok=True)
    for file in KEPT:
        shutil.copyfile(clone / file, target / Path(file).name)
    for figure in FIGURES:
        shutil.copyfile(clone / "plots/figures" / figure, target / "figures" / figure)


def _run(folder: Path, *command: str) -> None:
    """Run a command with the clone's own sources; what it prints is shown."""
    environment = os.environ | {"PYTHONPATH": str(folder.resolve() / "src")}
    if subprocess.run(command, cwd=folder, env=environment, check=False).returncode:
        sys.exit(f"{' '.join(command)} failed")


if __name__ == "__main__":
    main()
