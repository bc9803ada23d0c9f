"""What the experiments on certificates share: a population with known truth, draws from it, and many runs at once.

The population is a logit cache whose rows are drawn with replacement: draws are independent, and what a policy loses
and costs on the population is known exactly. By default it is the pipeline's own test split; `--cache PATH --name NAME`
takes any other. Files: results/EXPERIMENT/NAME.json. Folds are dealt from row numbers, as a drawn row may come twice.
"""

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from offramp.cache.reading import open_cache
from offramp.policies.costs import Costs, read_costs
from offramp.policies.outcomes import Outcomes
from offramp.policies.policy import Policy, Thresholds
from offramp.policies.replay import replay
from offramp.project.files import sha256, write_json
from offramp.project.host import describe
from offramp.scores.scoring import Scoring

T = TypeVar("T")
R = TypeVar("R")
DELTA = 0.1
LOSSES = (0.005, 0.01, 0.02)
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
CHUNK = 10  # runs that a worker takes at once


@dataclass(frozen=True)
class Options:
    """What the command line says; `cache` and `costs` describe the population."""

    cache: Path
    costs: Path
    name: str
    runs: int
    workers: int
    command: str
    quick: bool = False  # fewer runs than the committed results have


@dataclass(frozen=True)
class Population:
    """Logits (samples, exits, classes) and labels (samples,) of every member."""

    label: NDArray[np.int64]
    logits: NDArray[np.floating]

    def __len__(self) -> int:
        return len(self.label)

    def outcomes(self, scoring: Scoring) -> Outcomes:
        return outcomes_of(self.label, self.logits, scoring)


@cache
def population(path: Path) -> Population:
    """Return the population in a logit cache; read once per process."""
    opened = open_cache(path)
    rows = list(opened.read())
    return Population(np.concatenate([r.label for r in rows]), np.concatenate([r.logits for r in rows]))


costs_in = cache(read_costs)  # once per process: a pipeline that runs meanwhile may replace the file


def outcomes_of(label: NDArray[np.int64], logits: NDArray[np.floating], scoring: Scoring) -> Outcomes:
    """Return the outcomes of logits (samples, exits, classes) in memory, samples numbered from 0."""
    answers = logits.argmax(axis=2)
    names = [str(number) for number in range(logits.shape[2])]
    return Outcomes(
        sample=np.arange(len(label)),
        label=label,
        uncertainty=scoring(logits),
        correct=answers == label[:, None],
        agrees=answers == answers[:, -1:],
        exits=scoring.exits,
        class_names=names,
    )


def exit_names(n_exits: int) -> list[str]:
    return [f"exit_{number + 1}" for number in range(n_exits)]


def resample(members: Outcomes, rows: NDArray[np.intp]) -> Outcomes:
    """Return these members as new samples, numbered from 0: the same one drawn twice is two samples."""
    return replace(members.take(rows), sample=np.arange(len(rows)))


@dataclass(frozen=True)
class Truth:
    """What a policy does on the whole population."""

    loss: float
    mac_ratio: float

    @classmethod
    def of(cls, members: Outcomes, thresholds: Thresholds, costs: Costs) -> "Truth":
        result = replay(members, Policy(thresholds), costs)
        lost = int(members.correct[:, -1].sum()) - int(result.correct.sum())
        return cls(lost / len(members), result.cost_ratio)


def run_all(task: Callable[[T], R], tasks: Sequence[T], workers: int, what: str, chunk: int = CHUNK) -> list[R]:
    """Return task(t) for every t, in order, from processes of one thread each; `task` is a module's function."""
    os.environ |= dict.fromkeys(THREADS, "1")  # the processes inherit it
    with get_context("spawn").Pool(workers) as pool:
        return list(tqdm(pool.imap(task, tasks, chunk), total=len(tasks), desc=what, mininterval=1.0))


def allowed(runs: int, delta: float = DELTA) -> float:
    """Return delta + 3 standard errors: a valid procedure exceeds it in about one of 700 experiments, at worst."""
    return delta + 3 * math.sqrt(delta * (1 - delta) / runs)


def rate(events: Sequence[bool]) -> dict[str, float]:
    """Return how often something happened, with its standard error."""
    share = sum(events) / len(events)
    return {"rate": round(share, 4), "se": round(math.sqrt(share * (1 - share) / len(events)), 4)}


def mean(values: Sequence[float]) -> dict[str, float]:
    """Return a mean and its standard error."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": round(float(np.mean(values)), 4), "se": round(spread / math.sqrt(len(values)), 4)}


def read_options(module: str, description: str, runs: int, about_population: bool = True) -> Options:
    """Return the command line of an experiment; `runs` is what its committed results take."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    if about_population:
        parser.add_argument("--cache", type=Path, default=Path("data/logits/test.parquet"), help="the population")
        parser.add_argument("--costs", type=Path, default=Path("metrics/costs.json"), help="cost of every exit")
        parser.add_argument("--name", default="default", help="of the file in results/ (default: %(default)s)")
    parser.add_argument(
        "--runs", type=int, default=runs, help="fewer: a quick trial, which writes nothing (default: %(default)s)"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    given = parser.parse_args()
    command = f"python -m {module}"
    if not about_population:
        return Options(Path(), Path(), "result", given.runs, given.workers, command, given.runs < runs)
    if (given.cache != parser.get_default("cache")) != (given.name != "default"):
        parser.error("--cache and --name go together: results/ names the population")
    if given.name != "default":
        command += f" --cache {given.cache.name} --name {given.name}"  # a file's name; folders are this machine's own
    return Options(given.cache, given.costs, given.name, given.runs, given.workers, command, given.runs < runs)


def about(options: Options, start: float, **more: Any) -> dict[str, Any]:
    """Return what every result begins with; `start` is the `perf_counter` reading at its beginning."""
    content: dict[str, Any] = {"command": options.command, "host": describe()}
    if options.cache.name:
        members = population(options.cache)
        full = members.logits[:, -1].argmax(axis=1) == members.label
        content["population"] = {
            "name": options.name,
            "rows": len(members),
            "sha256": sha256(options.cache),
            "full_accuracy": round(float(full.mean()), 4),
        }
    content |= {"runs": options.runs, "workers": options.workers, "seconds": round(time.perf_counter() - start)}
    return content | more


def save(experiment: str, options: Options, content: dict[str, Any]) -> None:
    """Write a result of as many runs as are committed; print a quick trial. Exit with 1 where it did not pass."""
    path = Path("results") / experiment / f"{options.name}.json"
    if options.quick:
        path = Path(f"{experiment} ({options.runs} runs, nothing written)")
    else:
        write_json(path, content)
    print(f"{path}: passed {content['passed']}, {content['seconds']} s")
    if not content["passed"]:
        sys.exit(1)
