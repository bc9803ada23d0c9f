"""Is early exit faster on the clock? results/deployment/result.json.

Command: `python -m experiments.deployment`, after `make repro`, on an otherwise idle machine. For each batch size the
selected policy is calibrated for the time that segments and heads take here at that size, and runs on all test images
beside the full network, the policy selected for MACs and the cutoff 0.6, on the engine onnx; live answers are held
against the replay of the same engine's logits, and of torch's at batch 64. Then the full network on either engine.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.cache.reading import open_cache
from offramp.calibration import calibrate_cache
from offramp.calibration.elimination import masked
from offramp.calibration.params import Calibration
from offramp.data.prepared import read_split
from offramp.evaluation.comparison import paired_row
from offramp.params import Project, read_project
from offramp.policies.costs import Costs, LatencyRow, from_parts, read_costs
from offramp.policies.file import read_policies
from offramp.policies.policy import FULL, Policy, full_network, named_policy
from offramp.policies.replay import costs_under
from offramp.project.files import write_json
from offramp.project.host import describe
from offramp.runtime.benchmark.agreement import compare_live
from offramp.runtime.benchmark.caching import Pictures, first_pictures, logits_of
from offramp.runtime.benchmark.measuring import Measured, time_policies
from offramp.runtime.engines import open_engine
from offramp.runtime.engines.pieces import Engine
from offramp.runtime.latency import Latency, time_parts, timed_scoring
from offramp.runtime.live import Images, Runtime
from offramp.runtime.timing import spread
from offramp.scores.scoring import Scoring

BATCH_SIZES = (1, 64)
REPEATS = 5
LATENCY_REPEATS = 50
ENGINE_IMAGES, ENGINE_TURNS = 256, 20
PAUSE = 0.05  # seconds in which the other engine's threads stop spinning
FOR_TIME, FOR_MACS, FEW = "selected for time", "selected for MACs", "its exits 2, 4 and 6 alone"
FEW_EXITS = (1, 3, 5)  # from 0: heads with few MACs, far apart
VAL, TEST = Path("data/logits/val.parquet"), Path("data/logits/test.parquet")


def main() -> None:
    project = read_project()
    threads = project.compute.threads
    engine = open_engine("onnx", threads, "cpu")
    pictures = first_pictures(read_split(Path("data/prepared/test.parquet")), 10**9)
    macs = read_costs(Path("metrics/costs.json"))
    exits = [f"exit_{k + 1}" for k in range(macs.n_exits)]
    scoring = timed_scoring(project.uncertainty.score, exits, len(pictures.split.classes))
    measured = time_parts(engine, scoring, pictures.split.image_shape, BATCH_SIZES, LATENCY_REPEATS)
    batches = {}
    for batch_size, latency in measured.items():
        row = LatencyRow("onnx", batch_size)
        contest = Contest(engine, pictures, macs, _costs(latency, row), _policies(project, _costs(latency, row)))
        batches[f"batch_{batch_size}"] = contest.results(batch_size)
    result = {
        "command": "python -m experiments.deployment",
        "host": describe(),
        "engine": "onnx",
        "threads": threads,
        "images": len(pictures.images),
        "repeats": REPEATS,
        "latency_repeats": LATENCY_REPEATS,
        **batches,
        "eager_torch_against_onnx": _engines(engine, threads, pictures.images, scoring.exits),
    }
    write_json(Path("results/deployment/result.json"), result)
    for size, rows in batches.items():
        for name, row in rows.items():
            print(
                f"{size} {name}: {row['ms_per_sample']:.4f} ms, speed-up {row['speedup']:.2f} (MACs "
                f"{row['mac_speedup']:.2f}), loss {row['loss']:.4f}, mismatches {row['mismatches']}"
            )


def _costs(latency: Latency, row: LatencyRow) -> Costs:
    parts = latency.parts()
    return from_parts("ms", parts["segment"].tolist(), parts["head"].tolist(), row)


def _policies(project: Project, costs: Costs) -> dict[str, Policy]:
    """Return the contestants by what they are called in the result."""
    settings = Calibration(uncertainty=project.uncertainty, calibrate=project.calibrate).settings()
    settings = replace(settings, wanted=[settings.selected])
    for_time = calibrate_cache(VAL, costs, settings)
    for_macs = read_policies(Path("metrics/policies.json"))
    few = named_policy("selected", for_macs)
    few = replace(
        few, title=FEW, thresholds=masked(few.thresholds, [k in FEW_EXITS for k in range(len(few.thresholds))])
    )
    return {
        FULL: named_policy(FULL, for_macs),
        FOR_TIME: named_policy("selected", for_time),
        FOR_MACS: named_policy("selected", for_macs),
        FEW: few,
        "cutoff@0.6": named_policy("cutoff@0.6", for_macs),
    }


class Contest:
    """The contestants on all test images at one batch size."""

    def __init__(
        self, engine: Engine, pictures: Pictures, macs: Costs, latency: Costs, policies: dict[str, Policy]
    ) -> None:
        self._engine, self._pictures, self._policies = engine, pictures, policies
        self._costs = {"mac": macs, "modelled": latency}

    def results(self, batch_size: int) -> dict[str, Any]:
        images = self._pictures.images
        runtimes = {name: Runtime(self._engine, policy) for name, policy in self._policies.items()}
        logits = np.concatenate(
            [self._engine.exit_logits(images[i : i + batch_size]) for i in range(0, len(images), batch_size)]
        )
        main = logits_of(open_cache(TEST), self._pictures.sample)
        measured = time_policies(runtimes, images, batch_size, REPEATS, logits.shape[1])
        return {
            name: self._row(policy, measured[name], measured[FULL], logits, main)
            for name, policy in self._policies.items()
        }

    def _row(
        self,
        policy: Policy,
        measured: Measured,
        full: Measured,
        logits: NDArray[np.floating],
        main: NDArray[np.floating],
    ) -> dict[str, Any]:
        """Return accuracy, speed and agreement of one contestant; `main` are the main cache's logits."""
        label, taken = measured.label[0], measured.exit[0]
        right, full_right = label == self._pictures.label, full.label[0] == self._pictures.label
        same = max(
            (compare_live(*answers, logits, policy) for answers in zip(measured.label, measured.exit, strict=True)),
            key=lambda agreement: agreement.mismatches,
        )
        other = compare_live(label, taken, main, policy)
        ms, low, high = spread(measured.seconds / len(label) * 1e3)
        row: dict[str, Any] = {
            "policy": policy.name,
            "exits_enabled": sum(threshold is not None for threshold in policy.thresholds),
            "accuracy": float(right.mean()),
            **paired_row(int((full_right & ~right).sum()), int((right & ~full_right).sum()), len(label)),
            "ms_per_sample": ms,
            "ms_per_sample_low": low,
            "ms_per_sample_high": high,
            **self._speed(policy, measured, full),
            "mismatches": same.mismatches,
            "mismatches_main_cache": other.mismatches,
        }
        return row if other.largest_gap is None else row | {"largest_gap_main_cache": other.largest_gap}

    def _speed(self, policy: Policy, measured: Measured, full: Measured) -> dict[str, float]:
        speedup, low, high = spread(full.seconds / measured.seconds)
        found = {"speedup": speedup, "speedup_low": low, "speedup_high": high}
        means = {}
        for name, costs in self._costs.items():
            means[name] = float(
                costs_under(policy.require_scoring(), costs).at_exits(policy.enabled)[measured.exit[0]].mean()
            )
            found[f"{name}_speedup"] = costs.full / means[name]
        latency = self._costs["modelled"]
        assert latency.segment is not None, "measured by the part"
        segments = float(np.cumsum(latency.segment)[measured.exit[0]].mean())
        found |= {"modelled_ms": means["modelled"], "modelled_ms_of_segments": segments}
        return found | {"efficiency": speedup / found["mac_speedup"]}


def _engines(onnx: Engine, threads: int, images: Images, exits: list[str]) -> dict[str, Any]:
    """Return how many times longer eager torch takes for the full network, turn by turn."""
    torch = open_engine("torch", threads, "cpu")
    found = {}
    for batch_size in BATCH_SIZES:
        starts = range(0, ENGINE_IMAGES, batch_size)
        batches = [images[start : start + batch_size] for start in starts]
        seconds: dict[str, list[float]] = {engine.name: [] for engine in (onnx, torch)}
        runtimes = {
            e.name: Runtime(e, Policy(full_network(len(exits)), scoring=Scoring.plain("entropy", exits)))
            for e in (onnx, torch)
        }
        for _ in range(ENGINE_TURNS):
            for name, runtime in runtimes.items():
                seconds[name].append(_turn(runtime, batches))
        ratio, low, high = spread(np.array(seconds["torch"]) / np.array(seconds["onnx"]))
        found[f"batch_{batch_size}"] = {"ratio": ratio, "ratio_low": low, "ratio_high": high, "turns": ENGINE_TURNS}
    return found


def _turn(runtime: Runtime, batches: list[Images]) -> float:
    """Return the seconds that these batches take, the second time: before, the other engine had caches and cores."""
    time.sleep(PAUSE)
    for _ in range(2):
        start = time.perf_counter()
        for batch in batches:
            runtime(batch)
        seconds = time.perf_counter() - start
    return seconds


if __name__ == "__main__":
    main()
