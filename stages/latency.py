"""Time every segment and head on every engine: metrics/latency.json and its figure. Wants an otherwise idle machine."""

from pathlib import Path

from offramp.costs import read_costs
from offramp.figures.latency import draw_latency
from offramp.files import write_csv, write_json
from offramp.latency import Latency, measure, tidy, timed_scoring, to_json
from offramp.params.calibration import Uncertainty
from offramp.params.compute import Compute
from offramp.params.latency import LatencyParams
from offramp.params.reading import StageParams
from offramp.runtime.engines import graph_description, open_engine
from offramp.stage import run

ENGINES = ("onnx", "onnx_int8", "torch")  # in this order: torch's threads spin for a while after their last work


class Params(StageParams):
    compute: Compute
    uncertainty: Uncertainty
    latency: LatencyParams


def main() -> None:
    params = Params.read()
    threads, sizes, repeats = params.compute.threads, params.latency.batch_sizes, params.latency.repeats
    about = graph_description("onnx")
    scoring = timed_scoring(params.uncertainty.score, about["exits"], len(about["classes"]))
    measured: dict[str, dict[int, Latency]] = {}
    for name in ENGINES:
        engine = open_engine(name, threads, params.compute.device)
        measured[name] = measure(engine, scoring, about["image_shape"], sizes, repeats)
    write_json(Path("metrics/latency.json"), to_json(measured, threads, repeats))
    table = tidy(measured)
    write_csv(Path("plots/latency.csv"), list(table[0]), table)
    draw_latency(Path("plots/latency"), table, read_costs(Path("metrics/costs.json")))
    for name, by_size in measured.items():
        for size, latency in by_size.items():
            print(f"{name:<9} batch {size:>3}: {latency.describe()}")


if __name__ == "__main__":
    run(main)
