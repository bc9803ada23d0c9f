"""How cheap certified policies are, ours and published ways beside them: results/power/NAME.json.

Command: `python -m experiments.certificates.power [--cache PATH --name NAME]`. Every run draws 2,000 tune rows, which
may be unlabelled, and 5,000 certify rows, shapes each chain on the former and walks it on the latter at delta 0.1; the
cost is that of the certified policy on the population, 1 for the full network where nothing is certified. The bars in
`BARS` were set for the population `class_network` before this experiment was written.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.certificates.harness import (
    DELTA,
    Options,
    Population,
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
from experiments.certificates.rivals import betting_p_value, consistency_p_value, damage_p_value, shared_cutoffs
from offramp.calibration.certificates.chains import FAMILIES
from offramp.calibration.certificates.claims import LossClaim
from offramp.calibration.certificates.sequence import Step, in_sequence
from offramp.calibration.folds import Certify, Tune
from offramp.policies.costs import Costs
from offramp.policies.outcomes import Outcomes
from offramp.policies.policy import Policy, Thresholds, full_network
from offramp.policies.replay import costs_under
from offramp.scores.change import CHANGE, fit_change
from offramp.scores.scoring import Scoring
from offramp.statistics.exact_tests import GAMMA

SEED = 20260
RUNS = 400
CERTIFY, TUNE = 5000, 2000
LOSSES = (0.01, 0.02)
BARS = {"equal_change": (0.580, 0.485), "equal_change, score change": (0.560, 0.470)}  # at LOSSES
WITH_BARS = "class_network"
TESTS: dict[str, Callable[[Outcomes, Thresholds, float, float], float]] = {
    "betting": betting_p_value,
    "damage": damage_p_value,
    "consistency": consistency_p_value,
}
CHAINS: dict[str, Callable[[Tune, Costs, str], list[Policy]]] = FAMILIES | {"shared": shared_cutoffs}


@dataclass(frozen=True)
class Procedure:
    """A chain and the test that walks it; `score` and `difference` are the orders of our paired test."""

    score: str
    chain: str
    test: str


PROCEDURES = {
    "equal_change": Procedure("least_confidence", "equal_change", "score"),
    "equal_change, entropy": Procedure("entropy", "equal_change", "score"),
    "equal_change, score change": Procedure(CHANGE, "equal_change", "score"),
    "geometric": Procedure("least_confidence", "geometric", "score"),
    "geometric, ordered by difference": Procedure("least_confidence", "geometric", "difference"),
    "shared, our test": Procedure("least_confidence", "shared", "score"),
    "shared, betting on the signed loss": Procedure("least_confidence", "shared", "betting"),
    "shared, damage alone": Procedure("least_confidence", "shared", "damage"),
    "shared, consistency": Procedure("least_confidence", "shared", "consistency"),
}


@dataclass(frozen=True)
class Task:
    cache: Path
    costs: Path
    run: int


def main() -> None:
    start = time.perf_counter()
    options = read_options("experiments.certificates.power", __doc__.splitlines()[0], RUNS)
    tasks = [Task(options.cache, options.costs, run) for run in range(options.runs)]
    save("power", options, summary(options, run_all(one_run, tasks, options.workers, "power"), start))


def one_run(task: Task) -> dict[str, list[Truth]]:
    """Return, per procedure and loss, what the certified policy does on the population."""
    members, costs = population(task.cache), costs_in(task.costs)
    rng = np.random.default_rng([SEED, task.run])
    rows = rng.integers(len(members), size=TUNE + CERTIFY)
    results = {}
    for score in dict.fromkeys(procedure.score for procedure in PROCEDURES.values()):
        scoring = scoring_of(score, members, rows[:TUNE])
        outcomes, priced = members.outcomes(scoring), costs_under(scoring, costs)
        folds = Tune(resample(outcomes, rows[:TUNE])), Certify(resample(outcomes, rows[TUNE:]))
        for name, procedure in PROCEDURES.items():
            if procedure.score == score:
                found = certify(procedure, *folds, priced)
                results[name] = [Truth.of(outcomes, thresholds, priced) for thresholds in found]
    return results


def scoring_of(score: str, members: Population, tune: np.ndarray[Any, np.dtype[np.intp]]) -> Scoring:
    """Return the scoring; `change` is fitted on the tune rows' logits, without labels."""
    scoring = Scoring.plain(score, exit_names(members.logits.shape[1]))
    return replace(scoring, fitted=fit_change(members.logits[tune].astype(np.float64))) if score == CHANGE else scoring


def certify(procedure: Procedure, tune: Tune, certify: Certify, costs: Costs) -> list[Thresholds]:
    """Return the certified thresholds at each of LOSSES, those of the full network where there are none."""
    chain = CHAINS[procedure.chain](tune, costs, procedure.score)
    found = []
    for loss in LOSSES:
        tested = in_sequence((_step(procedure, certify, policy, loss) for policy in chain), DELTA)
        last = tested.last_rejected
        found.append(full_network(certify.rows.n_exits) if last is None else last.thresholds)
    return found


def _step(procedure: Procedure, certify: Certify, policy: Policy, loss: float) -> Step:
    if procedure.test in TESTS:
        return Step(policy, {}, TESTS[procedure.test](certify.rows, policy.thresholds, loss, DELTA))
    gamma = min(GAMMA[procedure.test], DELTA / 100)
    return LossClaim(certify, loss, procedure.test, gamma).step(policy)


def summary(options: Options, runs: list[dict[str, list[Truth]]], start: float) -> dict[str, Any]:
    results = {(name, loss): [run[name][at] for run in runs] for name in PROCEDURES for at, loss in enumerate(LOSSES)}
    rows = [_row(options, *key, truths) for key, truths in results.items()]
    settings = {"seed": SEED, "delta": DELTA, "certify_rows": CERTIFY, "tune_rows": TUNE}
    limit = {"violations_allowed": round(allowed(len(runs)), 4), "passed": all(row["passed"] for row in rows)}
    return about(options, start, **settings, **limit, procedures=rows)


def _row(options: Options, name: str, loss: float, truths: list[Truth]) -> dict[str, Any]:
    """Return a procedure's line. It passes where it violates seldom enough and, where there is a bar, is under it."""
    procedure = PROCEDURES[name]
    mac_ratio, violations = mean([t.mac_ratio for t in truths]), rate([t.loss > loss for t in truths])
    row = {
        "procedure": name,
        "score": procedure.score,
        "family": procedure.chain,
        "test": procedure.test,
        "max_loss": loss,
        "mac_ratio": mac_ratio,
        "violations": violations,
        "mean_loss": mean([t.loss for t in truths]),
        "passed": violations["rate"] <= allowed(len(truths)),
    }
    if options.name == WITH_BARS and name in BARS:
        bar = BARS[name][LOSSES.index(loss)]
        return row | {"bar": bar, "passed": row["passed"] and mac_ratio["mean"] <= bar}
    return row


if __name__ == "__main__":
    main()
