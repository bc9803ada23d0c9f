"""Does a certificate keep its promise on a real network's outcomes? results/validity/NAME.json.

Command: `python -m experiments.certificates.validity [--cache PATH --name NAME]`. Every run draws validation rows from
the population and calibrates them as shipped, tune fold and all. A violation is a policy that loses more on the
population than its certificate says; the full network, where nothing is certified, loses nothing. The first runs also
choose with method `overall`, whose target is the full network's accuracy on the same rows less max_loss: the rule that
trusts the sample, which should break its promise in more than half of the runs.
"""

import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from experiments.certificates.harness import (
    DELTA,
    LOSSES,
    Truth,
    about,
    allowed,
    costs_in,
    exit_names,
    mean,
    population,
    rate,
    read_options,
    resample,
    run_all,
    save,
)
from offramp.calibration import calibrate
from offramp.calibration.settings import Settings
from offramp.policies.outcomes import Outcomes
from offramp.scores.scoring import Scoring

SEED = 20262
RUNS, PLUG_IN_RUNS = 1000, 200
ROWS = (1000, 2500, 5000)  # of validation, folds included
SCORE = "entropy"
TUNE_FRACTION = 0.2


@dataclass(frozen=True)
class Task:
    cache: Path
    costs: Path
    n: int
    run: int
    plug_in: bool


@dataclass(frozen=True)
class Outcome:
    """What one calibration's policies do on the population, per loss; `plug_in` is empty where it was not asked for."""

    certified: list[Truth]
    feasible: list[bool]
    plug_in: list[Truth]


def main() -> None:
    start = time.perf_counter()
    options = read_options("experiments.certificates.validity", __doc__.splitlines()[0], RUNS)
    tasks = [
        Task(options.cache, options.costs, n, run, plug_in=run < PLUG_IN_RUNS)
        for n in ROWS
        for run in range(options.runs)
    ]
    found = run_all(one_run, tasks, options.workers, "validity")
    settings = []
    for n in ROWS:
        runs = [outcome for task, outcome in zip(tasks, found, strict=True) if task.n == n]
        settings += [_setting(n, at, runs) for at in range(len(LOSSES))]
    content = {
        "seed": SEED,
        "delta": DELTA,
        "score": SCORE,
        "tune_fraction": TUNE_FRACTION,
        "violations_allowed": round(allowed(options.runs), 4),
        "passed": all(setting["passed"] for setting in settings),
        "settings": settings,
    }
    save("validity", options, about(options, start, **content))


def one_run(task: Task) -> Outcome:
    """Draw and calibrate once; the folds are dealt anew with every run."""
    scoring, everyone = _everyone(task.cache)
    costs = costs_in(task.costs)
    rows = np.random.default_rng([SEED, task.n, task.run]).integers(len(everyone), size=task.n)
    outcomes = resample(everyone, rows)
    wanted = [("certified", loss) for loss in LOSSES]
    if task.plug_in:
        accuracy = float(outcomes.correct[:, -1].mean())
        wanted += [("overall", accuracy - loss) for loss in LOSSES]
    settings = Settings(wanted, wanted[0], score=SCORE, delta=DELTA, tune_fraction=TUNE_FRACTION, fold_seed=task.run)
    policies = calibrate(outcomes, costs, scoring, settings).policies
    truths = [Truth.of(everyone, policy.thresholds, costs) for policy in policies]
    feasible = [policy.feasible for policy in policies[: len(LOSSES)]]
    return Outcome(truths[: len(LOSSES)], feasible, truths[len(LOSSES) :])


@cache
def _everyone(path: Path) -> tuple[Scoring, Outcomes]:
    members = population(path)
    scoring = Scoring.plain(SCORE, exit_names(members.logits.shape[1]))
    return scoring, members.outcomes(scoring)


def _setting(n: int, at: int, runs: list[Outcome]) -> dict[str, Any]:
    loss = LOSSES[at]
    plug_in = [run.plug_in[at] for run in runs if run.plug_in]
    violations = rate([run.certified[at].loss > loss for run in runs])
    naive = rate([truth.loss > loss for truth in plug_in])
    return {
        "validation_rows": n,
        "max_loss": loss,
        "certified": {
            "violations": violations,
            "feasible": rate([run.feasible[at] for run in runs]),
            "mac_ratio": mean([run.certified[at].mac_ratio for run in runs]),
            "mean_loss": mean([run.certified[at].loss for run in runs]),
        },
        "overall": {
            "runs": len(plug_in),
            "violations": naive,
            "mac_ratio": mean([truth.mac_ratio for truth in plug_in]),
            "mean_loss": mean([truth.loss for truth in plug_in]),
        },
        "passed": violations["rate"] <= allowed(len(runs)) and naive["rate"] > 0.5,
    }


if __name__ == "__main__":
    main()
