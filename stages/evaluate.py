"""Replay every policy on the test split: metrics/evaluation.json and the tables of the figures."""

from pathlib import Path

from offramp.costs import read_costs
from offramp.evaluation import describe, read_test, write_difficulty, write_evaluation, write_exits, write_tradeoff
from offramp.policies import read_policies
from offramp.prepared import difficulty_of, read_split
from offramp.replay import replay
from offramp.stage import run


def main() -> None:
    policies = read_policies(Path("metrics/policies.json"))
    costs = read_costs(Path("metrics/costs.json"))
    outcomes = read_test(Path("data/logits/test.parquet"), policies, costs)
    evaluation = write_evaluation(Path("metrics/evaluation.json"), policies, outcomes, costs)
    write_tradeoff(Path("plots/tradeoff.csv"), policies, outcomes, costs)
    write_exits(Path("plots/exits.csv"), policies, outcomes, costs)
    difficulty = difficulty_of(read_split(Path("data/prepared/test.parquet")), outcomes.sample)
    selected = replay(outcomes, policies.selected.thresholds, costs)
    write_difficulty(Path("plots/difficulty.csv"), selected, outcomes.exits, difficulty)
    print(describe(policies, evaluation))


if __name__ == "__main__":
    run(main)
