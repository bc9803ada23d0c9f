"""Choose thresholds for every method and target on validation: `python stages/calibrate.py float32`.

Writes metrics/policies.json, and metrics/deployed.json: of it, what is deployed and timed.
"""

from dataclasses import replace
from pathlib import Path

from offramp.cache.reading import open_cache
from offramp.calibration import calibrate_cache
from offramp.calibration.params import Calibration
from offramp.calibration.routes import untimed
from offramp.policies.costs import read_costs
from offramp.policies.file import write_deployed, write_policies
from offramp.policies.text import describe
from offramp.project.stage import INT8, PRECISIONS, run, stage_arguments
from offramp.runtime.params import BenchmarkedPolicies


class Params(Calibration):
    benchmark: BenchmarkedPolicies = BenchmarkedPolicies()


def main() -> None:
    precision = PRECISIONS[stage_arguments(list(PRECISIONS))[0]]
    parameters = Params.read()
    chosen = parameters.calibrate
    row = replace(chosen.latency.row, engine="onnx_int8") if precision is INT8 else chosen.latency.row
    costs = read_costs(Path(f"metrics/{chosen.cost}.json"), row)
    val = precision.path("data/logits{}") / "val.parquet"
    policies = calibrate_cache(val, costs, parameters.settings())
    write_policies(precision.path("metrics/policies{}.json"), policies)
    network = open_cache(val).metadata.get("model_sha256")
    write_deployed(precision.path("metrics/deployed{}.json"), policies, parameters.benchmark.policies, network)
    print(describe(policies))
    if note := untimed(chosen.methods, costs):
        print(note)


if __name__ == "__main__":
    run(main)
