"""Replay every policy on the test split: `python stages/evaluate.py float32`.

Writes metrics/evaluation.json; for float32 also metrics/summary.json and the tables of the figures; for INT8 also what
quantisation loses against float32.
"""

from pathlib import Path

from offramp.data.prepared import difficulty_of, read_split
from offramp.evaluation.int8 import Replayed, compare_precision, describe_comparison
from offramp.evaluation.results import describe, evaluate_policies, read_test, summarise, write_tables
from offramp.evaluation.tables import write_difficulty, write_gallery, write_uncertainty
from offramp.policies.costs import Costs, read_costs
from offramp.policies.file import read_policies
from offramp.policies.outcomes import Outcomes
from offramp.policies.policy import Policies
from offramp.project.files import write_json
from offramp.project.stage import FLOAT32, INT8, PRECISIONS, Precision, run, stage_arguments

METRICS, PLOTS = Path("metrics"), Path("plots")


def main() -> None:
    precision = PRECISIONS[stage_arguments(list(PRECISIONS))[0]]
    costs = read_costs(METRICS / "costs.json")
    evaluate = _int8 if precision is INT8 else _float32
    evaluate(costs)


def _float32(costs: Costs) -> None:
    policies, outcomes = _read(FLOAT32, costs)
    report = evaluate_policies(policies, outcomes, costs)
    write_json(METRICS / "evaluation.json", report.evaluation, digits=6)
    write_json(METRICS / "summary.json", summarise(policies, report.evaluation, outcomes), digits=6)
    write_tables(PLOTS, report)
    write_uncertainty(PLOTS / "uncertainty.csv", outcomes, policies)
    write_gallery(PLOTS / "gallery.csv", outcomes, report.selected)
    difficulty = difficulty_of(read_split(Path("data/prepared/test.parquet")), outcomes.sample)
    write_difficulty(PLOTS / "difficulty.csv", report.selected, outcomes.exits, difficulty)
    print(describe(policies, report.evaluation))


def _int8(costs: Costs) -> None:
    int8, float32 = Replayed(*_read(INT8, costs)), Replayed(*_read(FLOAT32, costs))
    evaluation = evaluate_policies(int8.policies, int8.outcomes, costs).evaluation
    evaluation["against_float32"] = compare_precision(int8, float32, costs)
    write_json(METRICS / "evaluation_int8.json", evaluation, digits=6)
    print(describe(int8.policies, evaluation))
    print(describe_comparison(evaluation["against_float32"]))


def _read(precision: Precision, costs: Costs) -> tuple[Policies, Outcomes]:
    policies = read_policies(precision.path("metrics/policies{}.json"))
    return policies, read_test(precision.path("data/logits{}") / "test.parquet", policies, costs)


if __name__ == "__main__":
    run(main)
