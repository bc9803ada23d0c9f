"""Choose thresholds for the INT8 network, as calibrate does for the other one: metrics/policies_int8.json."""

from dataclasses import replace
from pathlib import Path

from offramp.calibration import calibrate_cache
from offramp.costs import read_costs
from offramp.params.calibration import Calibration
from offramp.policies import describe, write_policies
from offramp.stage import run


def main() -> None:
    parameters = Calibration.read()
    chosen = parameters.calibrate
    costs = read_costs(Path(f"metrics/{chosen.cost}.json"), replace(chosen.latency.row, engine="onnx_int8"))
    policies = calibrate_cache(Path("data/logits_int8/val.parquet"), costs, parameters.settings())
    write_policies(Path("metrics/policies_int8.json"), policies)
    print(describe(policies))


if __name__ == "__main__":
    run(main)
