"""One benchmark: every contestant at every batch size, timed, and held against replay and against modelled costs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.policies.costs import MACS, Costs, LatencyRow, from_parts, read_costs
from offramp.policies.policy import FULL, Policies, Policy, named_policy
from offramp.policies.replay import Replay, costs_under
from offramp.policies.routes.walk import Walk, step_costs, walk_costs
from offramp.project.errors import InputError
from offramp.runtime.benchmark.agreement import Agreement, compare_live
from offramp.runtime.benchmark.caching import Caches, Logits, Pictures
from offramp.runtime.benchmark.measuring import Measured, time_policies
from offramp.runtime.engines.pieces import Engine
from offramp.runtime.live_routes import runtime_for
from offramp.runtime.policy_pieces import skips_heads


@dataclass(frozen=True)
class Setting:
    """What all contestants share; `times` are the rows that latency.json has of this engine, by batch size."""

    engine: Engine
    pictures: Pictures
    caches: Caches
    macs: Costs
    times: dict[int, Costs]


@dataclass(frozen=True)
class Result:
    """What became of one contestant at one batch size; `full` is the full network in the same run.

    `live` is what its median repeat answered, at the costs in MACs. `own` compares with the cache of the same engine
    and batch size, `main` with the main cache; of all repeats, the one with the most mismatches counts.
    """

    policy: Policy
    run: Measured
    full: Measured
    live: Replay
    own: Agreement
    main: Agreement
    times: dict[int, Costs]
    n_classes: int

    def modelled_ms(self, batch_size: int) -> float | None:
        """Return the mean modelled time of a sample at the exit it took; None where latency.json has no such row."""
        if batch_size not in self.times:
            return None
        costs = self.times[batch_size]
        return float(paid(self.policy, self.live.taken, self.visited, costs, self.n_classes).mean())

    @property
    def visited(self) -> NDArray[np.bool_] | None:
        """Return whose heads ran in the median repeat, (samples, exits); None where the thresholds say it."""
        return None if self.run.visited is None else self.run.visited[self.run.median]

    @property
    def heads_per_sample(self) -> float:
        return heads(self.policy, self.live.taken, self.visited)


def contestants(names: Sequence[str], policies: Policies) -> list[Policy]:
    """Return the full network, then the policies of these names, each once. Raises InputError for an unknown name."""
    found = [named_policy(name, policies) for name in (FULL, *names)]
    return list({policy.name: policy for policy in found}.values())


def read_times(path: Path, engine: str) -> dict[int, Costs]:
    """Return the rows of latency.json that an engine has, by batch size; none is no error, but no such file is."""
    try:
        table = json.loads(path.read_text(encoding="utf-8")).get(engine, {})
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); `dvc repro -P` writes it") from None
    sizes = [int(name.removeprefix("batch_")) for name in table]
    return {size: read_costs(path, LatencyRow(engine, size)) for size in sorted(sizes)}


def run_benchmark(
    setting: Setting, policies: Sequence[Policy], batch_sizes: Sequence[int], repeats: int
) -> list[Result]:
    """Return the results, batch size by batch size; the first policy is the full network.

    A policy of rule `batch` decides for the batches timed, so its accuracy and cost are those at each batch size.

    Raises InputError where costs are of another network.
    """
    assert policies[0].name == FULL, "the full network is what all others are compared with"
    _require_same_exits(setting, len(policies[0].thresholds))
    runtimes = {policy.name: runtime_for(setting.engine, policy) for policy in policies}
    ids = setting.pictures.sample
    main = setting.caches.of_main(setting.pictures)
    results = []
    for batch_size in batch_sizes:
        runs = time_policies(runtimes, setting.pictures.images, batch_size, repeats, setting.macs.n_exits, ids)
        own = setting.caches.same(setting.engine, setting.pictures, batch_size)
        results += [_result(setting, policy, runs[policy.name], runs[FULL], own, main) for policy in policies]
    return results


def _require_same_exits(setting: Setting, n_exits: int) -> None:
    for file, costs in (("costs.json", setting.macs), *(("latency.json", costs) for costs in setting.times.values())):
        if costs.n_exits != n_exits:
            raise InputError(
                f"{file} has {costs.n_exits} exits, the policies are for {n_exits}; `dvc repro -P` writes it again"
            )


def _result(setting: Setting, policy: Policy, run: Measured, full: Measured, own: Logits, main: Logits) -> Result:
    pictures, macs, n_classes = setting.pictures, setting.macs, own.shape[2]
    taken, correct = run.exit[run.median], run.label[run.median] == pictures.label
    visited = None if run.visited is None else run.visited[run.median]
    own_costs = paid(policy, taken, visited, macs, n_classes)
    means = at_exits(own_costs, taken, macs.n_exits)
    live = Replay(taken, correct, means, macs.full, macs.unit, paid=own_costs)
    same, other = (worst_agreement(policy, run, logits, pictures.sample) for logits in (own, main))
    return Result(policy, run, full, live, same, other, setting.times, n_classes)


def worst_agreement(
    policy: Policy, run: Measured, logits: Logits, sample: NDArray[np.int64] | None = None
) -> Agreement:
    """Hold every repeat against the replay of these logits; return that of the one with the most mismatches.

    `sample` are the ids that went with the images.
    """
    found = []
    for repeat, (label, taken) in enumerate(zip(run.label, run.exit, strict=True)):
        visited = None if run.visited is None else run.visited[repeat]
        found.append(compare_live(label, taken, logits, policy, run.batch_size, visited=visited, sample=sample))
    return max(found, key=lambda agreement: agreement.mismatches)


Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Mask = NDArray[np.bool_]


def paid(policy: Policy, taken: Ints, visited: Mask | None, costs: Costs, n_classes: int) -> Floats:
    """Return what each sample costs, (samples,), that left at the exits `taken` (samples,).

    `visited` (samples, exits) are the heads it ran, as a route's runtime tells; else the thresholds say which. A
    forecast costs its MACs and, where costs are times, nothing: none was measured apart.
    """
    if not skips_heads(policy.rule):
        return costs_under(policy.require_scoring(), costs).at_exits(policy.enabled)[taken]
    assert visited is not None, "the runtime of a route says whose heads ran"
    route = policy.rule.route
    return walk_costs(_walk(taken, visited), costs, step_costs(route, costs, n_classes))


def heads(policy: Policy, taken: Ints, visited: Mask | None) -> float:
    """Return how many heads a sample ran on average, the final classifier's among them; arguments as of `paid`."""
    if visited is not None:
        return float(visited.sum(axis=1).mean())
    n_exits = len(policy.thresholds)
    counted = from_parts(MACS, [0.0] * n_exits, [1.0] * n_exits)
    return float(costs_under(policy.require_scoring(), counted).at_exits(policy.enabled)[taken].mean())


def at_exits(paid_by: Floats, taken: Ints, n_exits: int) -> Floats:
    """Return the mean of what samples (samples,) paid that left at each exit, (exits,); NaN where nobody left."""
    samples = np.bincount(taken, minlength=n_exits)
    return np.divide(np.bincount(taken, paid_by, n_exits), samples, out=np.full(n_exits, np.nan), where=samples > 0)


def _walk(taken: Ints, visited: Mask) -> Walk:
    """Return the walk of samples: one was made at every head that ran, but for the exit taken and the last side exit.

    How far forecasts went costs nothing and is not kept: 1 stands for each.
    """
    jump = visited.astype(np.int16)
    jump[np.arange(len(taken)), taken] = 0
    jump[:, -2:] = 0
    return Walk(taken, visited, jump)
