"""Ask nearest training images after every segment, for some test images: data/probes.parquet."""

from pathlib import Path

from offramp.data.prepared import read_split
from offramp.networks.device import set_up
from offramp.networks.file import load_network
from offramp.project.sections import Compute, StageParams
from offramp.project.stage import run
from studies.depth.nearest_neighbours import probe
from studies.depth.params import Depth
from studies.depth.probe_table import write_probes


class Params(StageParams):
    compute: Compute = Compute()
    depth: Depth = Depth()


def main() -> None:
    params = Params.read(Path("studies/depth/params.yaml"))
    wanted = params.depth
    network, _ = load_network(Path("models/network.safetensors"))
    train, test = (read_split(Path(f"data/prepared/{name}.parquet")) for name in ("train", "test"))
    device = set_up(params.compute.device, params.compute.threads)
    table = probe(network, train, test, device, wanted.neighbours, wanted.support, wanted.samples)
    write_probes(Path("data/probes.parquet"), table)
    print(
        f"{len(table.sample)} test images, {table.neighbours} neighbours of {table.support} training images after "
        f"{table.votes.shape[1]} segments; the last vote is the network's answer for "
        f"{(table.votes[:, -1] == table.answer).mean():.1%}"
    )


if __name__ == "__main__":
    run(main)
