"""How often a policy is certified whose true loss is exactly max_loss: results/boundary/result.json.

Command: `python -m experiments.certificates.boundary`. Caches are drawn from a model with two exits and known truth. At
exit 1 samples are of a few kinds, each with one uncertainty: the surest lose nothing, the next ones damage and rescue
answers so that who lets them leave loses exactly max_loss, the least sure are always wrong. So a certificate past the
surest is an error, and its rate the size of the whole procedure: at most delta, and not far below it. The same draws go
through faults planted in the shipped code, each of which must be caught in at least one setting; and 200 of them per
setting through the command line, which must return the same policies.
"""

import contextlib
import io
import json
import tempfile
import time
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.certificates.harness import DELTA, about, allowed, outcomes_of, rate, read_options, run_all, save
from experiments.certificates.planted import FAULTS, delta_not_split
from offramp import write_logits
from offramp.calibration import calibrate
from offramp.calibration.certified import certified
from offramp.calibration.problem import Problem
from offramp.calibration.settings import Settings
from offramp.commands.main import main as offramp
from offramp.policies.costs import from_parts, write_costs
from offramp.policies.policy import Thresholds
from offramp.policies.rules import leaves
from offramp.scores.scoring import Scoring

SEED = 20261
RUNS, COMMAND_LINE_RUNS = 2000, 200
SLACK = 0.05  # a shipped certificate errs at most this much more seldom than delta allows, at its boundary
EXITS = ["exit_1", "exit_2"]
SEGMENTS, HEADS = (40, 60), (1, 1)
SCORING = Scoring.plain("entropy", EXITS)
N_CLASSES = 4
SUREST, LEAST_SURE = 0.4, 0.15  # shares of samples; the kinds in between share the rest


@dataclass(frozen=True)
class Setting:
    """Validation rows; one kind of sample per loss, from whom on the policy loses that much and changes `changed`."""

    n: int
    losses: tuple[float, ...]
    changed: tuple[float, ...]  # P(D ≠ 0) of the same policies
    simultaneous: bool = False

    @property
    def settings(self) -> Settings:
        wanted = [("certified", loss) for loss in self.losses]
        return Settings(wanted, wanted[0], delta=DELTA, simultaneous=self.simultaneous)


SETTINGS = (
    Setting(500, (0.01,), (0.01,)),  # about four changes: tables far from normal
    Setting(1000, (0.005,), (0.005,)),
    Setting(1250, (0.01,), (0.03,)),
    Setting(1250, (0.01,), (0.08,)),
    Setting(3125, (0.005,), (0.02,)),
    Setting(3125, (0.01,), (0.05,)),
    Setting(6250, (0.01,), (0.05,)),
    Setting(6250, (0.02,), (0.08,)),
)
TOGETHER = Setting(6250, (0.005, 0.01, 0.02), (0.02, 0.04, 0.08), simultaneous=True)


@dataclass(frozen=True)
class Task:
    setting: Setting
    run: int
    command_line: bool


def main() -> None:
    start = time.perf_counter()
    options = read_options("experiments.certificates.boundary", __doc__.splitlines()[0], RUNS, about_population=False)
    tasks = [Task(s, run, run < COMMAND_LINE_RUNS) for s in (*SETTINGS, TOGETHER) for run in range(options.runs)]
    found = run_all(one_run, tasks, options.workers, "boundary", chunk=50)
    errors = {s: [row for task, row in zip(tasks, found, strict=True) if task.setting == s] for s in SETTINGS}
    together = [row for task, row in zip(tasks, found, strict=True) if task.setting == TOGETHER]
    save("boundary", options, about(options, start, **summary(errors, together)))


def one_run(task: Task) -> dict[str, bool]:
    """Return whether any certificate is wrong: the shipped ones', with each fault, and through the command line."""
    label, logits = draw(task.setting, np.random.default_rng([SEED, task.setting.n, task.run]))
    settings = task.setting.settings
    outcomes, costs = outcomes_of(label, logits, SCORING), from_parts("macs", SEGMENTS, HEADS)
    policies = calibrate(outcomes, costs, SCORING, settings).policies
    thresholds = [policy.thresholds for policy in policies]
    wrong = {"shipped": any_wrong(task.setting, thresholds)}
    problem = Problem(outcomes, costs, settings, looks=len(settings.wanted))
    faults = {"delta not split": delta_not_split} if task.setting.simultaneous else FAULTS
    for name, fault in faults.items():
        with fault():
            choices = [certified(problem, loss).thresholds for loss in task.setting.losses]
        wrong[name] = any_wrong(task.setting, choices)
    if task.command_line:
        same = through_the_command_line(task.setting, label, logits)
        wrong |= {"command line": any_wrong(task.setting, same), "same policies": same == thresholds}
    return wrong


def kinds(setting: Setting) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the logit at exit 1 of every kind of sample, and P(kind; damaged, rescued, neither), (kinds, 3)."""
    damage = np.diff(np.add(setting.changed, setting.losses), prepend=0.0) / 2
    rescue = np.diff(np.subtract(setting.changed, setting.losses), prepend=0.0) / 2
    share = (1 - SUREST - LEAST_SURE) / len(setting.losses)
    between = [[d, r, share - d - r] for d, r in zip(damage, rescue, strict=True)]
    shares = np.array([[0.0, 0.0, SUREST], *between, [LEAST_SURE, 0.0, 0.0]])
    assert (shares >= 0).all(), f"{setting} asks for a share below 0"
    return np.linspace(6.0, 1.0, len(shares)), shares


def draw(setting: Setting, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return labels (n,) and logits (n, 2, classes) of independent samples."""
    heights, shares = kinds(setting)
    cell = rng.choice(shares.size, size=setting.n, p=shares.ravel() / shares.sum())
    label = rng.integers(N_CLASSES, size=setting.n)
    wrong = (label + 1) % N_CLASSES
    logits = np.zeros((setting.n, 2, N_CLASSES))
    rows = np.arange(setting.n)
    logits[rows, 0, np.where(cell % 3 == 0, wrong, label)] = heights[cell // 3]
    logits[rows, 1, np.where(cell % 3 == 1, wrong, label)] = 5.0
    return label, logits


def any_wrong(setting: Setting, found: list[Thresholds]) -> bool:
    """Return whether any policy lets those leave that make it lose the loss it was certified for, or more."""
    heights, _ = kinds(setting)
    logits = np.zeros((len(heights), 2, N_CLASSES))
    logits[:, 0, 0] = heights
    uncertainty = SCORING(logits)[1:-1, 0]  # of the kinds between, one per loss
    thresholds = [-inf if t[0] is None else t[0] for t in found]
    return any(bool(leaves(u, t)) for u, t in zip(uncertainty, thresholds, strict=True))


def through_the_command_line(
    setting: Setting, label: NDArray[np.int64], logits: NDArray[np.float64]
) -> list[Thresholds]:
    """Return the thresholds that `offramp calibrate` writes for a cache with these rows."""
    s = setting.settings
    values = {
        "uncertainty.score": s.score,
        "uncertainty.temperature": s.temperature,
        "calibrate.methods": "[certified]",
        "calibrate.max_loss": list(setting.losses),
        "calibrate.select.method": "certified",
        "calibrate.select.target": setting.losses[0],
        "calibrate.delta": s.delta,
        "calibrate.simultaneous": str(s.simultaneous).lower(),
        "calibrate.tune_fraction": s.tune_fraction,
        "calibrate.fold_seed": s.fold_seed,
        "calibrate.family": s.family,
        "calibrate.test": s.test,
    }
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        val, costs, out = (Path(folder) / name for name in ("val.parquet", "costs.json", "policies.json"))
        write_logits(val, logits, label)
        write_costs(costs, EXITS, SEGMENTS, HEADS)
        sets = [argument for key, value in values.items() for argument in ("--set", f"{key}={value}")]
        assert offramp(["calibrate", "--val", str(val), "--costs", str(costs), "--out", str(out), *sets]) == 0
        policies = json.loads(out.read_text(encoding="utf-8"))["policies"]
    rows = [[policy["thresholds"][name] for name in EXITS] for policy in policies]
    return [tuple(inf if t == "inf" else t for t in row) for row in rows]


def summary(errors: dict[Setting, list[dict[str, bool]]], together: list[dict[str, bool]]) -> dict[str, Any]:
    settings = [_setting(setting, rows) for setting, rows in errors.items()]
    last = _setting(TOGETHER, together)
    faults = {name: any(s["faults"][name]["caught"] for s in settings) for name in FAULTS}
    faults |= {name: row["caught"] for name, row in last["faults"].items()}
    return {
        "seed": SEED,
        "delta": DELTA,
        "allowed": [round(DELTA - SLACK, 4), round(allowed(len(together)), 4)],
        "passed": all(s["passed"] for s in (*settings, last)) and all(faults.values()),
        "faults_caught": faults,
        "settings": [*settings, last],
    }


def _setting(setting: Setting, runs: list[dict[str, bool]]) -> dict[str, Any]:
    limit = allowed(len(runs))
    shipped = rate([run["shipped"] for run in runs])
    command_line = [run for run in runs if "command line" in run]
    same = sum(run["same policies"] for run in command_line)
    names = [name for name in runs[0] if name not in ("shipped", "command line", "same policies")]
    faulty = {name: rate([run[name] for run in runs]) for name in names}
    return {
        "validation_rows": setting.n,
        "max_loss": list(setting.losses),
        "discordance": list(setting.changed),
        "simultaneous": setting.simultaneous,
        "shipped": shipped,
        "command_line": rate([run["command line"] for run in command_line])
        | {"runs": len(command_line), "same_policies": same},
        "passed": DELTA - SLACK <= shipped["rate"] <= limit and same == len(command_line),
        "faults": {name: row | {"caught": row["rate"] > limit} for name, row in faulty.items()},
    }


if __name__ == "__main__":
    main()
