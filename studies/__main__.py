"""`python -m studies`: check every study's params.yaml, as `offramp check params.yaml` does that of the project."""

import sys
from pathlib import Path

from pydantic import BaseModel

from offramp.project.errors import InputError
from offramp.project.sections import validate
from offramp.project.yaml import read_yaml
from studies.depth.params import Study as DepthStudy
from studies.predictive_exit.params import Study as PredictiveExitStudy

STUDIES: dict[str, type[BaseModel]] = {"depth": DepthStudy, "predictive_exit": PredictiveExitStudy}


def main() -> None:
    for name, schema in STUDIES.items():
        path = Path("studies", name, "params.yaml")
        validate(schema, read_yaml(path), str(path))


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"studies: {error}")
