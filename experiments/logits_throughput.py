"""How much of a bare forward pass the logits stage keeps: results/logits_throughput/result.json.

Command: `python -m experiments.logits_throughput`, after `make repro`. Each repeat runs the network over all test
batches already decoded in memory, then fills a cache from the prepared file; speeds are ratios within a repeat.
"""

import statistics
import tempfile
import time
from pathlib import Path

from offramp.cache.filling import fill_cache
from offramp.data.prepared import read_batches, read_split
from offramp.networks.device import set_up
from offramp.networks.file import load_network
from offramp.params import read_project
from offramp.project.files import write_json
from offramp.project.host import describe
from offramp.runtime.engines.torch import TorchEngine

REPEATS = 7


def main() -> None:
    project = read_project()
    device = set_up(project.compute.device, project.compute.threads)
    batch_size = project.logits.batch_size
    network, _ = load_network(Path("models/network.safetensors"))
    exit_logits, n_exits = TorchEngine(network, device).exit_logits, len(network.exits)
    split = read_split(Path("data/prepared/test.parquet"))
    in_memory = [images for _, images, _ in read_batches(split, batch_size)]
    forward, whole = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "logits.parquet"
        fill_cache(exit_logits, n_exits, split, path, batch_size, project.logits.dtype, {})  # warm-up
        for _ in range(REPEATS):
            start = time.perf_counter()
            for images in in_memory:
                exit_logits(images)
            bare = time.perf_counter() - start
            seconds = fill_cache(exit_logits, n_exits, split, path, batch_size, project.logits.dtype, {})
            forward.append(bare / seconds.forward)
            whole.append(bare / seconds.whole)
    result = {
        "command": "python -m experiments.logits_throughput",
        "host": describe(),
        "repeats": REPEATS,
        "images": split.rows,
        "batch_size": batch_size,
        "threads": project.compute.threads,
        "forward_ratio": _spread(forward),
        "whole_ratio": _spread(whole),
    }
    write_json(Path("results/logits_throughput/result.json"), result)
    print(f"of the bare pass: forward {result['forward_ratio']}, whole stage {result['whole_ratio']}")


def _spread(ratios: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(ratios), 3),
        "low": round(min(ratios), 3),
        "high": round(max(ratios), 3),
    }


if __name__ == "__main__":
    main()
