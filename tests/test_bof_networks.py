"""VGG-19 and ResNet-34 with bag-of-features heads: totals of the reference, sharing, packed halves, export."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from cases.exported import noise

from offramp.networks.bag_of_features import CODEWORDS, BagOfFeatures
from offramp.networks.file import Description, load_network, save_network
from offramp.networks.macs import count_macs
from offramp.networks.params import VGG19BN
from offramp.networks.registry import build
from offramp.params import read_project
from offramp.project.errors import InputError
from offramp.project.sections import validate
from offramp.runtime.engines.exporting import export
from offramp.runtime.engines.graphs import cut
from offramp.runtime.engines.onnx import OnnxEngine
from offramp.runtime.engines.pieces import Piece
from offramp.runtime.engines.sessions import SessionStep
from offramp.runtime.engines.torch import TorchEngine

EXITS = {"vgg19_bn": 21, "resnet34": 33}
EVERY_PARAMETER = {"vgg19_bn": 20_035_392, "resnet34": 21_276_992}  # without heads and the last linear layer


pytestmark = pytest.mark.usefixtures("one_thread")  # networks this small lose by waiting for a second one


def shapes_only(network, classes, size=32):
    with torch.device("meta"):
        return build(network, {}, (3, size, size), classes)


def narrow(network, size=32, classes=5):
    """Return a network whose batch norms and codebooks do something, in evaluation mode."""
    torch.manual_seed(0)
    built = build(network, {"width": 0.125}, (3, size, size), classes).eval()
    for module in built.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.05, 0.5)
        if isinstance(module, BagOfFeatures):
            for scalar in (module.steepness, module.offset, module.mass, module.scale):
                scalar.data += torch.rand(())
    return built


def described(network):
    return Description("narrow", network, {"width": 0.125}, [3, 32, 32], list("abcde"))


@pytest.mark.parametrize(
    ("network", "classes", "macs", "heads", "head_parameters"),
    [
        ("vgg19_bn", 10, 398_136_320, 21_574_144, 78_810),
        ("vgg19_bn", 100, 398_136_320 + 512 * 90, 21_574_144 + 20 * 64 * 90, 84_660),
        ("resnet34", 10, 1_159_402_496, 58_216_448, 311_144),
        ("resnet34", 100, 1_159_402_496 + 512 * 90, 58_216_448 + 32 * 64 * 90, 311_144 + 4 * 65 * 90),
    ],
)
def test_macs_and_parameters_are_those_of_the_reference_to_the_unit(network, classes, macs, heads, head_parameters):
    built = shapes_only(network, classes)
    with torch.device("meta"):
        segment, head = count_macs(built, (3, 32, 32))
    assert len(segment) == EXITS[network]
    assert sum(segment) + head[-1] == macs
    assert sum(head[:-1]) == heads
    counted = Counter()
    for name, values in built.named_parameters():
        counted[name.split(".")[0].rstrip("0123456789")] += values.numel()
    assert counted["bag"] + counted["classifier"] == head_parameters
    assert counted["fc"] == 513 * classes
    assert counted.total() == EVERY_PARAMETER[network] + head_parameters + 513 * classes


def test_macs_at_an_exit_of_vgg_counted_by_hand():
    built = shapes_only("vgg19_bn", 10)
    with torch.device("meta"):
        segment, head = count_macs(built, (3, 32, 32))
    assert segment[:4] == [32 * 32 * 64 * 27, 32 * 32 * 64 * 64 * 9, 0, 16 * 16 * 64 * 128 * 9]
    assert head[2] == 16 * 16 * 64 * 64 + 64 * 10  # after a max-pooling: one cell, no hidden layer
    assert head[3] == 16 * 16 * 128 * 64 + 256 * 64 + 64 * 10


def test_a_projection_is_counted_before_the_middle_of_its_block():
    with torch.device("meta"):
        segment, _ = count_macs(shapes_only("resnet34", 10), (3, 32, 32))
    assert segment[6:8] == [16 * 16 * (64 * 128 * 9 + 64 * 128), 16 * 16 * 128 * 128 * 9]


def pooled_by_loops(x, bag):
    """Section 2 of the reference, position by position, for one sample x (channels, height, width)."""
    weight = bag.codebook.weight.detach().double().numpy()[:, :, 0, 0]
    bias = bag.codebook.bias.detach().double().numpy()
    a, c, n1, n2 = (scalar.item() for scalar in (bag.steepness, bag.offset, bag.mass, bag.scale))
    s, height, width = bag.horizon, x.shape[1] // bag.horizon, x.shape[2] // bag.horizon
    histogram = np.zeros((CODEWORDS, height, width))
    for i in range(height * s):
        for j in range(width * s):
            v = (np.tanh(a * (weight @ x[:, i, j] + bias) + c) + 1) / 2
            histogram[:, i // s, j // s] += n1 * v / (v.sum() + 5e-16) / s**2
    return (n2 * histogram).reshape(-1)  # codeword by codeword


def test_bag_of_features_is_the_formula_with_windows_left_over_dropped(rng):
    torch.manual_seed(1)
    bag = BagOfFeatures(5, 3)
    assert [s.item() for s in (bag.steepness, bag.offset, bag.mass, bag.scale)] == [1.0, 0.0, 64.0, 3.0]
    with torch.no_grad():
        for scalar, value in ((bag.steepness, 1.4), (bag.offset, -0.3), (bag.mass, 50.0), (bag.scale, 2.5)):
            scalar.fill_(value)
    x = rng.normal(size=(2, 5, 8, 10))
    found = bag(torch.from_numpy(x).float()).detach().numpy()
    assert found.shape == (2, bag.n_features((8, 10))) == (2, 64 * 2 * 3)
    assert found == pytest.approx(np.array([pooled_by_loops(sample, bag) for sample in x]), rel=1e-4, abs=1e-5)


def test_features_that_resemble_no_codeword_give_nothing_and_a_finite_gradient():
    bag = BagOfFeatures(2, 2)
    with torch.no_grad():
        bag.offset.fill_(-500.0)
    found = bag(torch.ones(1, 2, 4, 4))
    found.sum().backward()
    assert (found == 0).all()
    assert all(torch.isfinite(values.grad).all() for values in bag.parameters())


@pytest.mark.parametrize(("network", "bags", "classifiers"), [("vgg19_bn", 4, 1), ("resnet34", 16, 4)])
def test_what_heads_share_is_one_object_with_one_name(network, bags, classifiers):
    built = narrow(network)
    sides = [[module for module in head if list(module.parameters())] for _, head in built.stages[:-1]]
    assert len({id(head[0]) for head in sides}) == bags
    assert len({id(head[-1]) for head in sides}) == classifiers
    named = dict(built.named_parameters(remove_duplicate=False))
    assert len({id(values) for values in named.values()}) == len(named)
    used = {id(values) for stage in built.stages for module in stage for values in module.parameters()}
    assert used == {id(values) for values in named.values()}, "all that heads and segments use moves with the network"


def test_the_exits_of_vgg_share_as_the_table_says():
    built = narrow("vgg19_bn")
    heads = [head for _, head in built.stages[:-1]]
    bags = [1 + [built.bag1, built.bag2, built.bag3, built.bag4].index(head[0]) for head in heads]
    assert bags == [1] * 3 + [2] * 3 + [3] * 5 + [4] * 9
    short = [layer for layer, head in enumerate(heads, start=1) if len(head) == 2]
    assert short == [3, 6, 11, *range(16, 21)], "exits with one cell, which have no hidden layer"


@pytest.mark.parametrize("network", sorted(EXITS))
def test_a_saved_network_answers_the_same(tmp_path, network):
    built = narrow(network)
    save_network(tmp_path / "n.safetensors", built, described(network))
    again, _ = load_network(tmp_path / "n.safetensors")
    images = torch.rand(3, 3, 32, 32)
    assert all(torch.equal(a, b) for a, b in zip(built(images), again(images), strict=True))


def test_packed_halves_are_the_plain_residual_network():
    built = narrow("resnet34")
    images = torch.rand(4, 3, 32, 32)
    features = built.bn1(built.conv1(images)).relu()
    expected = []
    for number, block in enumerate((*built.layer1, *built.layer2, *built.layer3, *built.layer4), start=1):
        stage = 1 + (number > 3) + (number > 7) + (number > 13)
        classifier, bag = getattr(built, f"classifier{stage}"), getattr(built, f"bag{number}")
        middle = block.bn1(block.conv1(features)).relu()
        features = block(features)
        for seen in (middle, features):
            expected.append(classifier.logits(classifier.hidden["256"](bag(seen))))
    expected.append(built.fc(features.mean(dim=(2, 3))))
    with torch.inference_mode():
        found = built(images)
    assert len(found) == len(expected) == 33
    for one, other in zip(found, expected, strict=True):
        assert one.numpy() == pytest.approx(other.detach().numpy(), abs=1e-4)


@pytest.mark.parametrize(
    ("network", "arguments", "cells"),
    [("vgg19_bn", {}, [2304, 576]), ("resnet34", {}, [2304]), ("resnet34", {"stem_pool": 3}, [256])],
)
def test_larger_images_have_more_cells(network, arguments, cells):
    built = build(network, {"width": 0.125, **arguments}, (3, 96, 96), 5).eval()
    classifier = built.classifier if network == "vgg19_bn" else built.classifier4
    assert sorted(map(int, classifier.hidden), reverse=True) == cells
    with torch.inference_mode():
        assert {tuple(logits.shape) for logits in built(torch.rand(2, 3, 96, 96))} == {(2, 5)}


@pytest.mark.parametrize(
    ("network", "arguments", "least"), [("vgg19_bn", {}, 32), ("resnet34", {}, 16), ("resnet34", {"stem_pool": 3}, 48)]
)
def test_images_that_are_too_small_are_refused(network, arguments, least):
    with torch.device("meta"):
        build(network, arguments, (3, least, least), 10)
        with pytest.raises(ValueError, match=rf"at least {least} pixels a side; got {least}×{least - 1}"):
            build(network, arguments, (3, least, least - 1), 10)


@pytest.mark.slow
def test_a_narrow_vgg_exports_for_any_number_of_samples():
    """Its first layers: both kinds of heads, and a bag that resembles nothing, which must not become 0 / 0."""
    built = narrow("vgg19_bn")
    built.stages = built.stages[:4]
    with torch.no_grad():
        built.bag2.offset.fill_(-500.0)
    torch_logits = TorchEngine(built, torch.device("cpu")).exit_logits
    engine = OnnxEngine(export(built, described("vgg19_bn"), "0" * 64), threads=2)
    for n in (1, 7):
        assert engine.exit_logits(noise(n)) == pytest.approx(torch_logits(noise(n)), abs=2e-4)


def test_packed_features_of_some_samples_go_on_in_onnx():
    built = narrow("resnet34")
    built.stages = built.stages[:2]
    graph = export(built, described("resnet34"), "0" * 64)
    cuts = [cut(graph, piece) for piece in (Piece(None, 0, (0,), True), Piece(0, 1, (1,), False))]
    first, second = (SessionStep(part.SerializeToString(), threads=2) for part in cuts)
    images, rows = noise(7), np.array([1, 4, 5])
    expected = TorchEngine(built, torch.device("cpu")).exit_logits(images)
    after = first(images)
    assert after.logits == pytest.approx(expected[:, :1], abs=2e-4)
    assert second(first.take(after.features, rows)).logits == pytest.approx(expected[rows, 1:], abs=2e-4)


def test_params_yaml_has_them_with_the_macs_it_states_and_weights_of_1():
    models = read_project(Path(__file__).parents[1] / "params.yaml").models
    architecture = models["vgg19_narrow"].architecture
    built = build(architecture.network, architecture.arguments, (3, 32, 32), 10)
    segment, head = count_macs(built, (3, 32, 32))
    assert (sum(segment) + head[-1], sum(head[:-1])) == (6_414_976, 2_880_000)
    assert models["vgg19"].loss_weights(21) == [1.0] * 21
    assert models["resnet34"].architecture == ("resnet34", {"width": 1.0, "stem_pool": 1})
    with pytest.raises(InputError, match=r"^width must be a number above 0; got 0; change it in params\.yaml$"):
        validate(VGG19BN, {"network": "vgg19_bn", "width": 0}, "params.yaml")
