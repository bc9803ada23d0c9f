"""Choose thresholds for every method and target on the validation split: metrics/policies.json."""

from pathlib import Path

from offramp.calibration import calibrate_cache
from offramp.calibration.routes import untimed
from offramp.costs import read_costs
from offramp.params.calibration import Calibration
from offramp.policies import describe, write_policies
from offramp.stage import run


def main() -> None:
    parameters = Calibration.read()
    chosen = parameters.calibrate
    costs = read_costs(Path(f"metrics/{chosen.cost}.json"), chosen.latency.row)
    policies = calibrate_cache(Path("data/logits/val.parquet"), costs, parameters.settings())
    write_policies(Path("metrics/policies.json"), policies)
    print(describe(policies))
    if note := untimed(chosen.methods, costs):
        print(note)


if __name__ == "__main__":
    run(main)
