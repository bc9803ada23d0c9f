"""Time every segment and head on both engines: metrics/latency.json and its figure. Wants an otherwise idle machine."""

from pathlib import Path

import onnx

from offramp.costs import read_costs
from offramp.device import set_up
from offramp.figures.latency import draw_latency
from offramp.files import write_csv, write_json
from offramp.latency import Latency, measure, tidy, timed_scoring, to_json
from offramp.networks.weights import load_network
from offramp.params.calibration import Uncertainty
from offramp.params.compute import Compute
from offramp.params.latency import LatencyParams
from offramp.params.reading import StageParams
from offramp.runtime.onnx_engine import OnnxEngine
from offramp.runtime.steps import Engine
from offramp.runtime.torch_engine import TorchEngine
from offramp.stage import run


class Params(StageParams):
    compute: Compute
    uncertainty: Uncertainty
    latency: LatencyParams


def main() -> None:
    params = Params.read()
    threads = params.compute.threads
    device = set_up(params.compute.device, threads)
    network, about = load_network(Path("models/network.safetensors"))
    scoring = timed_scoring(params.uncertainty.score, network.exits, len(about.classes))
    engines: list[Engine] = [  # in this order: torch's threads spin for a while after their last work
        OnnxEngine(onnx.load(Path("models/network.onnx")), threads),
        TorchEngine(network, device),
    ]
    measured: dict[str, dict[int, Latency]] = {}
    for engine in engines:
        sizes, repeats = params.latency.batch_sizes, params.latency.repeats
        measured[engine.name] = measure(engine, scoring, about.image_shape, sizes, repeats)
    write_json(Path("metrics/latency.json"), to_json(measured, threads, params.latency.repeats))
    table = tidy(measured)
    write_csv(Path("plots/latency.csv"), list(table[0]), table)
    draw_latency(Path("plots/latency"), table, read_costs(Path("metrics/costs.json")))
    for name, by_size in measured.items():
        for size, latency in by_size.items():
            print(f"{name:<5} batch {size:>3}: {latency.describe()}")


if __name__ == "__main__":
    run(main)
