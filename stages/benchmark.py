"""Time the full network and policies live, side by side: metrics/benchmark.json. Wants an otherwise idle machine."""

from pathlib import Path

from offramp import host
from offramp.benchmark.caching import Caches, first_pictures
from offramp.benchmark.results import to_json
from offramp.benchmark.session import Setting, contestants, read_times, run_benchmark
from offramp.benchmark.tables import COLUMNS, describe, tidy
from offramp.cache.reading import open_cache
from offramp.costs import read_costs
from offramp.figures.benchmark import draw_benchmark
from offramp.files import write_csv, write_json
from offramp.params.benchmark import Benchmark
from offramp.params.compute import Compute
from offramp.params.reading import StageParams
from offramp.policies import read_policies
from offramp.prepared import read_split
from offramp.runtime.engines import open_engine, provenance
from offramp.stage import run


class Params(StageParams):
    compute: Compute
    benchmark: Benchmark


def main() -> None:
    params = Params.read()
    threads, chosen = params.compute.threads, params.benchmark
    policies = read_policies(Path("metrics/policies.json"))
    named = contestants(chosen.policies, policies)
    folder = Path("data/logits_benchmark")
    folder.mkdir(parents=True, exist_ok=True)  # DVC wants it, even where the main cache serves
    caches = Caches(open_cache(Path("data/logits/test.parquet")), folder, provenance(chosen.engine))
    caches.require_fit(policies.exits)
    setting = Setting(
        open_engine(chosen.engine, threads, params.compute.device),
        first_pictures(read_split(Path("data/prepared/test.parquet")), chosen.samples),
        caches,
        read_costs(Path("metrics/costs.json")),
        read_times(Path("metrics/latency.json"), chosen.engine),
    )
    results = run_benchmark(setting, named, chosen.batch_sizes, chosen.repeats)
    about = {"engine": chosen.engine, "threads": threads, "samples": results[0].run.samples, "repeats": chosen.repeats}
    write_json(Path("metrics/benchmark.json"), to_json(results, about | {"host": host.summary(host.describe())}))
    table = tidy(results, chosen.engine)
    write_csv(Path("plots/benchmark.csv"), COLUMNS, table)
    draw_benchmark(Path("plots/benchmark"), table)
    print(describe(results))


if __name__ == "__main__":
    run(main)
