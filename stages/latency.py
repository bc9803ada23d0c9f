"""Time every segment and head on every engine: metrics/latency.json and its figure. Wants an otherwise idle machine."""

from pathlib import Path

from offramp.figures.latency import draw_latency
from offramp.figures.style import set_source
from offramp.policies.costs import read_costs
from offramp.project.files import write_json
from offramp.project.sections import Compute, StageParams
from offramp.project.stage import run
from offramp.project.tables import write_table
from offramp.runtime.engines import graph_description, open_engine
from offramp.runtime.latency import Latency, tidy, time_parts, timed_scoring, to_json
from offramp.runtime.params import LatencyParams, TimedScore

ENGINES = ("onnx", "onnx_int8", "torch")  # in this order: torch's threads spin for a while after their last work


class Params(StageParams):
    compute: Compute
    uncertainty: TimedScore
    latency: LatencyParams


def main() -> None:
    params = Params.read()
    threads, sizes, repeats = params.compute.threads, params.latency.batch_sizes, params.latency.repeats
    about = graph_description("onnx")
    scoring = timed_scoring(params.uncertainty.score, about["exits"], len(about["classes"]))
    measured: dict[str, dict[int, Latency]] = {}
    for name in ENGINES:
        engine = open_engine(name, threads, params.compute.device)
        measured[name] = time_parts(engine, scoring, about["image_shape"], sizes, repeats)
    write_json(Path("metrics/latency.json"), to_json(measured, threads, repeats), digits=6)
    table = tidy(measured)
    write_table(Path("plots/latency.csv"), list(table[0]), table)
    set_source("random images", about["model"])
    draw_latency(Path("plots/latency"), table, read_costs(Path("metrics/costs.json")))
    for name, by_size in measured.items():
        for size, latency in by_size.items():
            print(f"{name:<9} batch {size:>3}: {latency.describe()}")


if __name__ == "__main__":
    run(main)
