"""Count the multiply-adds of every segment and head of the chosen network: metrics/costs.json."""

from pathlib import Path

from offramp.data.prepared import read_split
from offramp.networks.macs import count_macs
from offramp.networks.params import Model, Models
from offramp.networks.registry import build
from offramp.policies.costs import write_costs
from offramp.project.errors import InputError
from offramp.project.sections import StageParams, chosen
from offramp.project.stage import run


class Params(StageParams):
    model: Model
    models: Models


def main() -> None:
    params = Params.read()
    definition = chosen(params.models, params.model.name, "model.name", "models")
    split = read_split(Path("data/prepared/val.parquet"))
    try:
        network = build(*definition.architecture, split.image_shape, len(split.classes))
    except ValueError as error:
        raise InputError(f"models.{params.model.name}: {error}; change it in params.yaml") from error
    segment, head = count_macs(network, split.image_shape)
    write_costs(Path("metrics/costs.json"), network.exits, segment, head)
    print(f"full network: {(sum(segment) + head[-1]) / 1e6:.2f} million MACs per image, {len(segment)} exits")


if __name__ == "__main__":
    run(main)
