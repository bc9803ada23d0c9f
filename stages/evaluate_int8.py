"""Replay every INT8 policy on the test split, and INT8 against float32: metrics/evaluation_int8.json."""

from pathlib import Path

from offramp.costs import read_costs
from offramp.evaluation import describe, evaluate, read_test
from offramp.evaluation.precision import Replayed, compare, describe_comparison
from offramp.files import write_json
from offramp.policies import read_policies
from offramp.stage import run


def main() -> None:
    costs = read_costs(Path("metrics/costs.json"))
    replayed = []
    for suffix in ("_int8", ""):
        policies = read_policies(Path(f"metrics/policies{suffix}.json"))
        replayed.append(Replayed(policies, read_test(Path(f"data/logits{suffix}/test.parquet"), policies, costs)))
    int8, float32 = replayed
    evaluation = evaluate(int8.policies, int8.outcomes, costs)
    evaluation["against_float32"] = compare(int8, float32, costs)
    write_json(Path("metrics/evaluation_int8.json"), evaluation)
    print(describe(int8.policies, evaluation))
    print(describe_comparison(evaluation["against_float32"]))


if __name__ == "__main__":
    run(main)
