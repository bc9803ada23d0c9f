"""Sweep one shared entropy cutoff over its range on the test split: plots/sweep.csv and metrics/sweep.json."""

from pathlib import Path

from offramp.cache.reading import open_cache
from offramp.evaluation.params import Sweep
from offramp.evaluation.sweep import write_cutoff, write_sweep
from offramp.policies.costs import read_costs
from offramp.policies.outcomes import read_outcomes
from offramp.policies.replay import require_same_exits
from offramp.project.sections import StageParams
from offramp.project.stage import run
from offramp.scores.scoring import Scoring


class Params(StageParams):
    sweep: Sweep


def main() -> None:
    params = Params.read().sweep
    cache = open_cache(Path("data/logits/test.parquet"))
    outcomes = read_outcomes(cache, Scoring.plain("entropy", cache.exits))
    costs = read_costs(Path("metrics/costs.json"))
    require_same_exits(outcomes, costs)
    write_sweep(Path("plots/sweep.csv"), outcomes, costs, params.cutoffs, params.batch_size)
    detail = write_cutoff(Path("metrics/sweep.json"), outcomes, costs, params.cutoff)
    print(
        f"{params.cutoffs} cutoffs, for samples and for batches of {params.batch_size}; at {params.cutoff:g} nats, "
        f"sample by sample: accuracy {detail['accuracy']:.4f}, {detail['mac_ratio']:.3f} of the full network's MACs"
    )


if __name__ == "__main__":
    run(main)
