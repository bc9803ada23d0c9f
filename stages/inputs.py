"""Write data/inputs.json: digests of the files outside that the chosen data set and model name, factories too."""

from pathlib import Path

from offramp.factories import factory_files
from offramp.inputs import named_files, write_inputs
from offramp.params.project import read_project
from offramp.stage import run


def main() -> None:
    # Read from the file and not through DVC: this stage runs at every `dvc repro`, and asking DVC takes half a second.
    project = read_project()
    files = [*named_files(project.dataset, project.network), *factory_files(project.network)]
    digests = write_inputs(Path("data/inputs.json"), Path("data/.digests.json"), files)
    print(f"{len(digests)} files from outside")


if __name__ == "__main__":
    run(main)
