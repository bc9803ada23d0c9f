"""Time policies live, side by side: `python stages/benchmark.py float32`. Wants an otherwise idle machine.

Float32: the full network against the policies of metrics/deployed.json, metrics/benchmark.json. INT8: against float32,
metrics/int8.json.
"""

from pathlib import Path
from typing import Any

from offramp.cache.reading import open_cache
from offramp.data.prepared import read_split
from offramp.figures.benchmark import draw_benchmark
from offramp.figures.style import set_source
from offramp.policies.costs import read_costs
from offramp.policies.file import read_policies
from offramp.policies.policy import named_policy
from offramp.project import host
from offramp.project.files import sha256, write_json
from offramp.project.sections import Compute, StageParams
from offramp.project.stage import FLOAT32, INT8, PRECISIONS, run, stage_arguments
from offramp.project.tables import write_table
from offramp.runtime.benchmark import int8 as int8_benchmark
from offramp.runtime.benchmark.caching import Caches, first_pictures, logits_of
from offramp.runtime.benchmark.results import COLUMNS, describe, tidy, to_json
from offramp.runtime.benchmark.session import Setting, contestants, read_times, run_benchmark
from offramp.runtime.engines import open_engine, provenance
from offramp.runtime.params import Benchmark

DEPLOYED, TEST = "metrics/deployed{}.json", Path("data/prepared/test.parquet")
INT8_IMAGES = 1000  # at most: ratios of runs side by side need fewer than percentiles of single images


class Params(StageParams):
    compute: Compute
    benchmark: Benchmark


def main() -> None:
    precision, params = PRECISIONS[stage_arguments(list(PRECISIONS))[0]], Params.read()
    benchmark = _int8 if precision is INT8 else _float32
    benchmark(params)


def _float32(params: Params) -> None:
    threads, chosen = params.compute.threads, params.benchmark
    policies = read_policies(FLOAT32.path(DEPLOYED))
    named = contestants(chosen.policies, policies)
    folder = Path("data/logits_benchmark")  # filled again by every run: no output, so that a fresh clone can skip it
    cache = open_cache(Path("data/logits/test.parquet"))
    caches = Caches(cache, folder, provenance(chosen.engine))
    caches.require_fit(policies.exits)
    setting = Setting(
        open_engine(chosen.engine, threads, params.compute.device),
        first_pictures(read_split(TEST), chosen.samples),
        caches,
        read_costs(Path("metrics/costs.json")),
        read_times(Path("metrics/latency.json"), chosen.engine),
    )
    results = run_benchmark(setting, named, chosen.batch_sizes, chosen.repeats)
    about = _about(params, results[0].run.samples, engine=chosen.engine)
    write_json(Path("metrics/benchmark.json"), to_json(results, about), digits=6)
    table = tidy(results, chosen.engine)
    write_table(Path("plots/benchmark.csv"), COLUMNS, table)
    set_source(cache.metadata.get("dataset", ""), cache.metadata.get("model", ""))
    draw_benchmark(Path("plots/benchmark"), table)
    print(describe(results))


def _int8(params: Params) -> None:
    threads, chosen = params.compute.threads, params.benchmark
    pictures = first_pictures(read_split(TEST), min(chosen.samples, INT8_IMAGES))
    int8, float32 = (
        int8_benchmark.Precision(
            open_engine(precision.path("onnx{}").name, threads, params.compute.device),
            read_policies(precision.path(DEPLOYED)),
            logits_of(open_cache(precision.path("data/logits{}") / "test.parquet"), pictures.sample),
        )
        for precision in (INT8, FLOAT32)
    )
    for one in (int8, float32):
        if warning := named_policy("selected", one.policies).warning:
            print(warning)
    table = int8_benchmark.benchmark(int8, float32, pictures, chosen.batch_sizes, chosen.repeats)
    write_json(Path("metrics/int8.json"), {"about": _about(params, len(pictures.sample)), **table}, digits=6)
    print(int8_benchmark.describe(table))


def _about(params: Params, samples: int, **more: Any) -> dict[str, Any]:
    """Return what was measured, where, and the digest of the policies: a page can tell if they are still deployed."""
    about = more | {"threads": params.compute.threads, "samples": samples, "repeats": params.benchmark.repeats}
    return about | {"deployed_sha256": sha256(FLOAT32.path(DEPLOYED)), "host": host.summary(host.describe())}


if __name__ == "__main__":
    run(main)
