"""Write data/inputs.json: digests of the files outside that the chosen data set and model name, factories too."""

from pathlib import Path

from offramp.data.params import Data, Datasets
from offramp.networks.factory_source import factory_files
from offramp.networks.params import Model, Models
from offramp.project.declared import PARAMS_FILE
from offramp.project.inputs import named_files, write_inputs
from offramp.project.sections import StageParams, chosen, validate
from offramp.project.stage import run
from offramp.project.yaml import read_yaml


class Params(StageParams):
    data: Data
    datasets: Datasets
    model: Model
    models: Models


def main() -> None:
    # This stage always runs, so it declares no parameters; and it reads no more sections than it needs, to be quick.
    params = validate(Params, read_yaml(PARAMS_FILE), PARAMS_FILE.name)
    dataset = chosen(params.datasets, params.data.name, "data.name", "datasets")
    network = chosen(params.models, params.model.name, "model.name", "models")
    digests = write_inputs(
        Path("data/inputs.json"), Path("data/.digests.json"), [*named_files(dataset, network), *factory_files(network)]
    )
    print(f"{len(digests)} files from outside")


if __name__ == "__main__":
    run(main)
