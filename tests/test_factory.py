"""The user's own network: what it must return, where its source is, and that no file chooses what is run."""

import os
from pathlib import Path

import pytest
import torch
from cases.networks import CLASSES, SHAPE, floats

from offramp.networks.factory_source import factory_file
from offramp.networks.file import Description, load_network, save_network
from offramp.networks.params import BranchyNet, Factory
from offramp.networks.registry import build
from offramp.project.errors import InputError

MINE = """
from pathlib import Path
from torch import nn
Path("executed").touch()

def network(image_shape, n_classes):
    channels, height, width = image_shape
    linear = nn.Linear(channels * height * width, n_classes)
    return [(nn.Flatten(), linear), (nn.Identity(), linear)]
"""
PARAMS = "models: {{other: {{backbone: resnet18}}, mine: {{factory: '{}'}}}}"


def own(function, **arguments):
    return build("factory", {"factory": f"tests.cases.own_network:{function}", "arguments": arguments}, SHAPE, CLASSES)


def test_a_factory_gets_shape_classes_and_its_arguments():
    network = own("tokens", channels=6)
    assert [tuple(values.shape) for values in network(floats(2))] == [(2, CLASSES)] * 2
    names = set(network.state_dict())
    assert {"segments.1.0.conv.weight", "heads.1.linear.weight", "heads.2.linear.weight"} <= names
    assert network.get_submodule("segments.1.0.conv").out_channels == 6


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("tests.cases.own_network:no_pairs", "must return a list with a pair of modules.*; got 1 items"),
        (
            "tests.cases.own_network:one_class_more",
            r"exit_1 must give logits \(samples, 5\); it gives \(2, 6\) for 2 images",
        ),
        ("tests.cases.own_network:does_not_run", "does not run on images of 3×32×32"),
        ("tests.cases.own_network:not_a_function", "has no function not_a_function"),
        ("tests.nowhere:network", "there is no module tests.nowhere here"),
        ("tests.cases.own_network:Layer", "cannot be called: .*image_shape"),
    ],
)
def test_what_is_wrong_with_a_factory_is_said(factory, message):
    with pytest.raises(ValueError, match=message):
        build("factory", {"factory": factory}, SHAPE, CLASSES)


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def saved(folder, factory, arguments=None):
    """Write a file as the train stage would, whether or not the factory may be run."""
    content = {"factory": factory, "arguments": arguments or {}}
    about = Description("mine", "factory", content, list(SHAPE), list("abcde"))
    save_network(folder / "network.safetensors", torch.nn.Linear(1, 1), about)
    return folder / "network.safetensors"


@pytest.mark.parametrize("params", [None, "models: 3", PARAMS.format("own_a:network")])
def test_a_file_does_not_choose_what_is_run(project, params):
    if params is not None:
        (project / "params.yaml").write_text(params)
    (project / "own_b.py").write_text(MINE)
    hostile = [saved(project, "os:system", {"command": "touch executed"}), saved(project, "own_b:network")]
    for path in hostile:
        with pytest.raises(InputError, match=r"is not run, because no models\.NAME\.factory in params.yaml here"):
            load_network(path)
    for strange in (None, ["os:system"], 3):
        with pytest.raises(InputError, match="is not run"):
            load_network(saved(project, strange))
    assert not (project / "executed").exists()


def test_a_factory_that_params_yaml_names_is_loaded_again_with_what_it_shares(project):
    (project / "own_c.py").write_text(MINE)
    (project / "params.yaml").write_text(PARAMS.format("own_c:network"))
    about = Description("mine", "factory", {"factory": "own_c:network"}, list(SHAPE), list("abcde"))
    network = about.build()
    save_network(project / "network.safetensors", network, about)
    again, _ = load_network(project / "network.safetensors")
    assert torch.equal(again(floats(2))[1], network(floats(2))[1])
    assert again.heads["1"] is again.heads["2"]


def test_the_source_of_a_factory_is_found_without_running_it(project):
    package = project / "own_d" / "inner"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").write_text("raise SystemExit('run')")
    (package / "network.py").write_text(MINE)
    assert factory_file(Factory(factory="own_d.inner.network:network")) == Path("own_d/inner/network.py")
    assert factory_file(Factory(factory="own_d.inner:network")) == Path("own_d/inner/__init__.py")
    assert factory_file(Factory(factory="os:system")) == Path(os.__file__)
    assert factory_file(BranchyNet(network="branchynet")) is None
    assert not (project / "executed").exists()
    with pytest.raises(InputError, match=r"there is no module own_d\.outer here"):
        factory_file(Factory(factory="own_d.outer:network"))
