"""Replay every policy on the test split: metrics/evaluation.json and the tables of the figures."""

from pathlib import Path

from offramp.costs import read_costs
from offramp.evaluation import (
    describe,
    measure,
    read_test,
    write_classes,
    write_difficulty,
    write_exits,
    write_guarantees,
    write_tradeoff,
)
from offramp.files import write_json
from offramp.policies import read_policies
from offramp.prepared import difficulty_of, read_split
from offramp.stage import run


def main() -> None:
    policies = read_policies(Path("metrics/policies.json"))
    costs = read_costs(Path("metrics/costs.json"))
    outcomes = read_test(Path("data/logits/test.parquet"), policies, costs)
    report = measure(policies, outcomes, costs)
    write_json(Path("metrics/evaluation.json"), report.evaluation)
    write_tradeoff(Path("plots/tradeoff.csv"), report)
    write_exits(Path("plots/exits.csv"), report)
    write_classes(Path("plots/classes.csv"), report)
    write_guarantees(Path("plots/guarantees.csv"), report)
    difficulty = difficulty_of(read_split(Path("data/prepared/test.parquet")), outcomes.sample)
    write_difficulty(Path("plots/difficulty.csv"), report.selected, outcomes.exits, difficulty)
    print(describe(policies, report.evaluation))


if __name__ == "__main__":
    run(main)
