"""Fill in README.md: the text between `<!-- NAME -->` and `<!-- /NAME -->` belongs to the block of that name.

With --check nothing is written and the exit status is 1 when the text is not what the files say.
"""

import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from docs.readme import (
    backbones,
    benchmark,
    calibration,
    cifar10,
    deployment,
    difficulty,
    int8,
    latency,
    predictive,
    sources,
)
from offramp.project.files import write_text

BLOCKS: dict[str, Callable[[], str]] = {
    "policies": calibration.deployable_table,
    "all_policies": calibration.policies_table,
    "validity": calibration.validity,
    "power": calibration.power,
    "optimiser": calibration.optimiser,
    "cutoff": calibration.cutoff_table,
    "times": calibration.times,
    "throughput": calibration.throughput,
    "deployment": deployment.deployment_table,
    "engines": latency.engines_table,
    "break_even": latency.break_even_table,
    "benchmark": benchmark.benchmark_block,
    "benchmark_exits": benchmark.benchmark_exits_block,
    "depth": difficulty.depth_block,
    "smaller": difficulty.smaller_block,
    "int8": int8.int8_block,
    "int8_variants": int8.variants_block,
    "streaming": sources.streaming_block,
    "backbones": backbones.backbones_block,
    "cifar10": cifar10.networks_block,
    "cifar10_task_1": cifar10.task_1_block,
    "cifar10_task_2": cifar10.task_2_block,
    "mistakes": cifar10.mistakes_block,
    "predictive": predictive.comparison_block,
    "predictive_gains": predictive.gains_block,
    "predictive_sensitivity": predictive.sensitivity_block,
    "predictive_energy": predictive.energy_block,
    "predictive_live": predictive.live_block,
    "predictive_missing": predictive.missing_block,
}


def main(arguments: list[str]) -> int:
    check = "--check" in arguments
    path = Path(arguments[-1])
    text = path.read_text(encoding="utf-8")
    new = text
    for name, make in BLOCKS.items():
        new, found = re.subn(
            rf"(<!-- {name} -->).*?(<!-- /{name} -->)", partial(_fill, block=make()), new, flags=re.DOTALL
        )
        assert found == 1, f"{path} must have the marks <!-- {name} --> and <!-- /{name} --> once; found {found}"
    if check and new != text:
        print(f"{path} does not hold the numbers of the committed results; run `make readme`", file=sys.stderr)
        return 1
    if not check:
        write_text(path, new)
    return 0


def _fill(match: re.Match[str], block: str) -> str:
    return f"{match[1]}\n{block}\n{match[2]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
