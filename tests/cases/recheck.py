"""A small network's validation cache, its costs, and the policies of three calibrations."""

from cases.graded import graded_logits
from offramp.cache.writing import write_logits
from offramp.calibration import calibrate_cache
from offramp.calibration.settings import Settings
from offramp.policies.costs import from_parts, write_costs
from offramp.policies.file import write_policies

SEGMENT, HEAD = [10, 30, 60], [4, 3, 2]
WANTED = [
    ("shared", 0.8),
    ("certified", 0.03),
    ("certified", 0.0001),  # infeasible
    ("certified_overall", 0.75),
    ("certified_per_exit", 0.8),
]
PLAIN = Settings(WANTED, ("certified", 0.03))
PAIRED = Settings(WANTED[:3], ("certified", 0.03))
OTHER = Settings(
    WANTED,
    ("certified", 0.03),
    score="change",
    temperature="per_exit",
    family="geometric",
    test="difference",
    simultaneous=True,
)


def draw(seed, n, strength=(4.0, 6.0, 8.0)):
    return graded_logits(seed, n, strength)


def write_recheck_case(path):
    write_logits(path / "val.parquet", *draw(5, 1500))
    write_costs(path / "costs.json", ["exit_1", "exit_2", "exit_3"], SEGMENT, HEAD)
    for name, settings in (("plain", PLAIN), ("other", OTHER), ("paired", PAIRED)):
        write_policies(
            path / f"{name}.json", calibrate_cache(path / "val.parquet", from_parts("macs", SEGMENT, HEAD), settings)
        )
