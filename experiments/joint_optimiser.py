"""How near the joint optimiser comes to the optimum, and how fast it is: results/joint_optimiser/NAME.json.

Command: `python -m experiments.joint_optimiser [--cache PATH --name NAME]`, after `make repro`; without arguments it
takes the pipeline's test cache and the name `default`. A cache must be of the network in metrics/costs.json. Each
target is an accuracy that lies so far below the full network's; `joint` is the cost that `overall` reaches on these
samples, `grid` the exact optimum over 20 options per side exit. Everything runs on one core.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments.grid_oracle import Grid, grid_policies
from offramp.cache.reading import open_cache
from offramp.calibration.joint_search import HIGHEST, MULTIPLIERS, Joint
from offramp.calibration.overall_and_budget import overall
from offramp.calibration.shared import shared
from offramp.policies.costs import from_parts, read_costs
from offramp.policies.outcomes import Outcomes, read_outcomes
from offramp.policies.replay import replay
from offramp.project.files import sha256, write_json
from offramp.project.host import describe
from offramp.scores.scoring import Scoring

LOSSES = (0.0, 0.005, 0.01, 0.02, 0.03)
OPTIONS = 20
SCORE = "least_confidence"
REPEATS = 7
TIMED_SAMPLES, TIMED_EXITS = 50_000, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, help="a logit cache (default: the pipeline's test cache)")
    parser.add_argument("--name", default="default", help="what to call the result")
    given = parser.parse_args()
    options = f" --cache PATH --name {given.name}" if given.cache else ""
    result: dict[str, Any] = {"command": f"python -m experiments.joint_optimiser{options}", "host": describe()}
    use_one_core()
    result |= measure(given.cache or Path("data/logits/test.parquet"))
    write_json(Path("results/joint_optimiser") / f"{given.name}.json", result)
    for entry in result["targets"]:
        print("loss {loss:.3f}: joint {joint:.4f}, grid {grid:.4f}, ratio {ratio:.4f}".format_map(entry))
    print(f"seconds: {result['seconds']}")


def measure(path: Path) -> dict[str, Any]:
    """Return quality and speed on the cache at `path`, and the speed on synthetic outcomes."""
    cache = open_cache(path)
    outcomes, costs = read_outcomes(cache, Scoring.plain(SCORE, cache.exits)), read_costs(Path("metrics/costs.json"))
    joint, grid = Joint(outcomes, costs), grid_policies(outcomes, costs, OPTIONS)
    targets = [compare(joint, grid, loss) for loss in tqdm(LOSSES, desc="targets", unit="target")]
    population = {
        "dataset": cache.metadata.get("dataset"),
        "split": cache.metadata.get("split"),
        "cache_sha256": sha256(path),
        "rows": len(outcomes),
        "exits": outcomes.n_exits,
        "score": SCORE,
        "full_accuracy": float(outcomes.correct[:, -1].mean()),
    }
    accuracies = [entry["target"] for entry in targets]
    seconds = {
        "cores": 1,
        "repeats": REPEATS,
        "overall_all_targets": timed(lambda: calibrate(Joint(outcomes, costs), accuracies), "overall"),
        "multipliers": time_multipliers(),
    }
    return {"population": population, "grid_options": OPTIONS, "targets": targets, "seconds": seconds}


def compare(joint: Joint, grid: Grid, loss: float) -> dict[str, float]:
    """Return mean costs, as fractions of the full network's, at an accuracy `loss` below its own."""
    outcomes, costs = joint.outcomes, joint.costs
    wanted = int(outcomes.correct[:, -1].sum()) - round(loss * len(outcomes))
    target = wanted / len(outcomes)
    found = replay(outcomes, overall(joint, target), costs)
    assert found.correct.sum() >= wanted, "the full network reaches the target, so the search must"
    best = grid.cheapest(wanted)[0] / costs.full
    return {
        "loss": loss,
        "target": target,
        "joint": found.cost_ratio,
        "grid": best,
        "ratio": found.cost_ratio / best,
        "shared": replay(outcomes, shared(outcomes, costs, target), costs).cost_ratio,
    }


def calibrate(joint: Joint, targets: list[float]) -> None:
    for target in targets:
        overall(joint, target)


def time_multipliers() -> dict[str, float]:
    """Time one path of multipliers, rising from the full network, on synthetic outcomes."""
    outcomes = synthetic(np.random.default_rng(0), TIMED_SAMPLES, TIMED_EXITS)
    joint = Joint(outcomes, from_parts("macs", [10.0] * TIMED_EXITS, [1.0] * TIMED_EXITS))
    multipliers = np.geomspace(1 / TIMED_SAMPLES, HIGHEST, MULTIPLIERS)
    nobody = (0,) * (TIMED_EXITS - 1)
    size = {"number": MULTIPLIERS, "samples": TIMED_SAMPLES, "exits": TIMED_EXITS}
    return size | timed(lambda: joint.follow(multipliers, nobody), "multipliers")


def synthetic(rng: np.random.Generator, n: int, n_exits: int) -> Outcomes:
    """Return samples of normal difficulty at ever more able exits, whose uncertainty is a noisy guess of both."""
    ability = np.linspace(0, 2, n_exits)
    lead = ability - rng.normal(size=(n, 1)) + 0.8 * rng.normal(size=(n, n_exits))
    correct = lead + 0.5 * rng.normal(size=lead.shape) > 0
    names = [f"exit_{k + 1}" for k in range(n_exits)]
    return Outcomes(np.arange(n), np.zeros(n, np.int64), -lead, correct, correct == correct[:, -1:], names, ["any"])


def timed(work: Callable[[], object], name: str) -> dict[str, float]:
    """Return median, shortest and longest of the repeats, in seconds, after one to warm up."""
    work()
    seconds = []
    for _ in tqdm(range(REPEATS), desc=name, unit="repeat"):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    spread = {"median": statistics.median(seconds), "low": min(seconds), "high": max(seconds)}
    return {key: round(value, 3) for key, value in spread.items()}


def use_one_core() -> None:
    """Keep this process on one core, where the system lets us; NumPy needs no second one for what is timed."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


if __name__ == "__main__":
    main()
