"""Choose thresholds for every method and target on the validation split: metrics/policies.json."""

from pathlib import Path

from offramp.calibration import calibrate_cache
from offramp.costs import read_costs
from offramp.params.calibration import Calibration
from offramp.policies import describe, write_policies
from offramp.stage import run


def main() -> None:
    params = Calibration.read()
    policies = calibrate_cache(
        Path("data/logits/val.parquet"),
        read_costs(Path("metrics/costs.json")),
        score=params.uncertainty.score,
        methods=params.calibrate.methods,
        targets=params.calibrate.targets,
        select=(params.calibrate.select.method, params.calibrate.select.target),
    )
    write_policies(Path("metrics/policies.json"), policies)
    print(describe(policies))


if __name__ == "__main__":
    run(main)
