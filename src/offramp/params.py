"""All of params.yaml: what `make repro` checks before DVC touches anything."""

from pathlib import Path
from typing import Self

from pydantic import model_validator

from offramp.cache.params import Logits
from offramp.calibration.params import Calibrate, Uncertainty
from offramp.data.params import AnyDataset, Data, Datasets
from offramp.evaluation.params import Sweep
from offramp.networks.params import Definition, Model, Models
from offramp.networks.training.params import Train, require_start
from offramp.project.declared import PARAMS_FILE
from offramp.project.errors import InputError
from offramp.project.sections import Compute, Section, Seed, unknown_name, validate
from offramp.project.yaml import read_yaml
from offramp.runtime.params import Benchmark, Int8, LatencyParams, require_known

MOVED = {"depth": "studies/depth/params.yaml", "predictive": "studies/predictive_exit/params.yaml"}


class Project(Section):
    """The whole file. Every section has documented defaults but those that name a data set and a model."""

    seed: Seed = 17
    compute: Compute = Compute()
    data: Data
    datasets: Datasets
    model: Model
    models: Models
    train: Train = Train()
    logits: Logits = Logits()
    uncertainty: Uncertainty = Uncertainty()
    calibrate: Calibrate = Calibrate()
    sweep: Sweep = Sweep()
    latency: LatencyParams = LatencyParams()
    benchmark: Benchmark = Benchmark()
    int8: Int8 = Int8()

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        if self.data.name not in self.datasets:
            raise unknown_name(self.datasets, self.data.name, "data.name", "datasets")
        if self.model.name not in self.models:
            raise unknown_name(self.models, self.model.name, "model.name", "models")
        wanted, measured = self.calibrate.latency.batch_size, self.latency.batch_sizes
        if self.calibrate.cost == "latency" and wanted not in measured:
            sizes = ", ".join(str(size) for size in measured)
            raise ValueError(
                f"calibrate.latency.batch_size must be one of latency.batch_sizes ({sizes}) where calibrate.cost is "
                f"latency; got {wanted}"
            )
        return self

    @model_validator(mode="after")
    def _training_can_start(self) -> Self:
        require_start(self.train, self.network, self.model.name)
        return self

    @model_validator(mode="after")
    def _benchmarked_policies_exist(self) -> Self:
        chosen = self.calibrate
        calibrated = [f"{method}@{target:g}" for method in chosen.methods for target in chosen.targets_of(method)]
        require_known(self.benchmark.policies, calibrated)
        return self

    @property
    def dataset(self) -> AnyDataset:
        return self.datasets[self.data.name]

    @property
    def network(self) -> Definition:
        return self.models[self.model.name]


def read_project(path: Path = PARAMS_FILE) -> Project:
    """Return the whole of params.yaml. Raises InputError in one line."""
    content = read_yaml(path)
    for section in MOVED.keys() & content:
        raise InputError(f"{path.name}: section {section} has moved; write it in {MOVED[section]} of the project")
    return validate(Project, content, path.name)
