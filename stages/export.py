"""Export the trained network as one ONNX graph with every exit: models/network.onnx."""

from pathlib import Path

import onnx

from offramp.networks.file import load_network
from offramp.project.files import replacing, sha256
from offramp.project.stage import run
from offramp.runtime.engines.exporting import export

NETWORK = Path("models/network.safetensors")
GRAPH = Path("models/network.onnx")


def main() -> None:
    network, description = load_network(NETWORK)
    model = export(network, description, sha256(NETWORK))
    with replacing(GRAPH) as temporary:
        onnx.save(model, temporary)
    print(f"{GRAPH}: {len(model.graph.node)} nodes, {len(network.exits)} exits, {GRAPH.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run(main)
