"""Shared fixtures: small caches with known truth, and the given network's files where they are present."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from cases.latency import write_case
from cases.recheck import write_recheck_case
from cases.route_policies import write_route_case

from offramp.cache.reading import open_cache
from offramp.policies.costs import Costs, from_parts
from offramp.policies.outcomes import Outcomes, read_outcomes
from offramp.scores.scoring import Scoring

# Two test processes with two threads each: threads that spin while they wait would take each other's cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items):
    """Start the longest file first: with two processes, what starts last should be short."""
    items.sort(key=lambda item: item.path.name not in ("test_whole_pipeline.py", "test_pipeline.py"))


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def costs() -> Costs:
    return from_parts("macs", [10, 20, 30, 40], [4, 3, 2, 1])


@pytest.fixture(scope="module")
def one_thread():
    """One thread for torch: networks as small as a test's lose more by waiting for a second than they gain."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def exported_bundle(tmp_path_factory):
    """A bundle with exits 1, 3 and 6; tests that change something take `bundle`, a copy."""
    from cases.bundles import policy, tiny_graph  # torch and onnx, for the tests that need them only

    from offramp.runtime.bundle.writing import write_bundle

    folder = tmp_path_factory.mktemp("exported") / "bundle"
    write_bundle(folder, tiny_graph(), policy(enabled=(1, 0, 1, 0, 0)))
    return folder


@pytest.fixture
def bundle(exported_bundle, tmp_path):
    return shutil.copytree(exported_bundle, tmp_path / "bundle")


@pytest.fixture(scope="module")
def latency_folder(tmp_path_factory):
    """Caches, costs of both kinds and policies of a network with one dear head; see latency_case."""
    path = tmp_path_factory.mktemp("latency")
    write_case(path)
    return path


@pytest.fixture(scope="module")
def recheck_folder(tmp_path_factory):
    """A validation cache, costs, and the policies of three calibrations; see recheck_case."""
    path = tmp_path_factory.mktemp("recheck")
    write_recheck_case(path)
    return path


@pytest.fixture(scope="session")
def route_policies(tmp_path_factory):
    """Caches, costs and the policies of every route; see route_policies_case."""
    path = tmp_path_factory.mktemp("routes")
    write_route_case(path)
    return path


def edit_params(path: Path, key: str, value) -> None:
    """Set one dotted key in a params.yaml; comments are lost."""
    content = yaml.safe_load(path.read_text())
    section = content
    *parts, last = key.split(".")
    for part in parts:
        section = section[part]
    section[last] = value
    path.write_text(yaml.safe_dump(content))


def make_outcomes(uncertainty, correct, n_classes: int = 2) -> Outcomes:
    uncertainty, correct = np.asarray(uncertainty, float), np.asarray(correct, bool)
    n, n_exits = uncertainty.shape
    return Outcomes(
        sample=np.arange(n),
        label=np.arange(n) % n_classes,
        uncertainty=uncertainty,
        correct=correct,
        agrees=correct == correct[:, -1:],  # two wrong answers count as the same one
        exits=[f"exit_{k + 1}" for k in range(n_exits)],
        class_names=[str(c) for c in range(n_classes)],
    )


def random_outcomes(rng, n: int = 60, n_exits: int = 4, ties: bool = False) -> Outcomes:
    """Later exits are better, confident answers are right more often; with `ties`, few distinct uncertainties."""
    uncertainty = rng.random((n, n_exits))
    if ties:
        uncertainty = uncertainty.round(1)
    quality = np.linspace(0.2, 0.6, n_exits)
    return make_outcomes(uncertainty, rng.random((n, n_exits)) < quality + 0.4 * (1 - uncertainty))


def read_entropy(path: Path, **options) -> Outcomes:
    cache = open_cache(path)
    return read_outcomes(cache, Scoring.plain("entropy", cache.exits), **options)


def random_logits(rng, n: int = 50, n_exits: int = 3, n_classes: int = 4):
    labels = np.arange(n) % n_classes
    logits = rng.normal(size=(n, n_exits, n_classes)).astype(np.float32)
    logits[np.arange(n), :, labels] += np.linspace(0.5, 3, n_exits)
    return logits, labels
