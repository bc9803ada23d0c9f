"""Time INT8 and float32 side by side, on test images: metrics/int8.json. Wants an otherwise idle machine."""

from pathlib import Path

from offramp import host
from offramp.benchmark.caching import first_pictures, logits_of
from offramp.benchmark.precision import Precision, benchmark, describe
from offramp.cache.reading import open_cache
from offramp.files import write_json
from offramp.named import named_policy
from offramp.params.benchmark import Benchmark
from offramp.params.compute import Compute
from offramp.params.reading import StageParams
from offramp.policies import read_policies
from offramp.prepared import read_split
from offramp.runtime.engines import open_engine
from offramp.stage import run

IMAGES = 1000  # at most: ratios of runs side by side need fewer than percentiles of single images


class Params(StageParams):
    compute: Compute
    benchmark: Benchmark


def main() -> None:
    params = Params.read()
    threads, chosen = params.compute.threads, params.benchmark
    pictures = first_pictures(read_split(Path("data/prepared/test.parquet")), min(chosen.samples, IMAGES))
    int8, float32 = (
        Precision(
            open_engine(f"onnx{suffix}", threads, params.compute.device),
            read_policies(Path(f"metrics/policies{suffix}.json")),
            logits_of(open_cache(Path(f"data/logits{suffix}/test.parquet")), pictures.sample),
        )
        for suffix in ("_int8", "")
    )
    for precision in (int8, float32):
        if warning := named_policy("selected", precision.policies).warning:
            print(warning)
    table = benchmark(int8, float32, pictures, chosen.batch_sizes, chosen.repeats)
    about = {"threads": threads, "samples": len(pictures.sample), "repeats": chosen.repeats}
    write_json(Path("metrics/int8.json"), {"about": {**about, "host": host.summary(host.describe())}, **table})
    print(describe(table))


if __name__ == "__main__":
    run(main)
