"""Classifiers of torchvision with exits: the same numbers as uncut, nothing computed twice, the same names."""

import hashlib

import pytest
import torch
from cases.networks import CLASSES, SHAPE, floats, settle
from torch.utils.flop_counter import FlopCounterMode

from offramp.networks.early_exit import side_head_names
from offramp.networks.file import Description, load_network, save_network
from offramp.networks.given_weights import load_weights
from offramp.networks.macs import count_macs
from offramp.networks.params import Backbone as Definition
from offramp.networks.pretrained import load_published, read_published
from offramp.networks.registry import build
from offramp.networks.torchvision import classifier_of
from offramp.project.errors import InputError
from offramp.project.torchvision_import import torchvision
from offramp.runtime.engines.batch_norm import fold_batch_norm

MOBILENET = {"backbone": "mobilenet_v3_small", "exits": ["features.3", "features.8"]}
CASES = {
    "resnet18": ["layer1", "layer2", "layer3"],
    "mobilenet_v3_small": MOBILENET["exits"],
    "swin_t": ["features.1"],  # its features have their channels last
}


def backbone(name, exits, classes=CLASSES, shape=SHAPE):
    torch.manual_seed(0)
    return build("torchvision", {"backbone": name, "exits": exits}, shape, classes)


@pytest.mark.parametrize("name", CASES)
def test_the_last_exit_is_the_classifier_and_every_layer_runs_once(name):
    cut = settle(backbone(name, CASES[name]))
    whole = classifier_of(name, SHAPE, CLASSES)
    own = {key: value for key, value in cut.state_dict().items() if not key.startswith("exit_heads.")}
    whole.load_state_dict(own)  # strict: torchvision's names, all of them, and no others
    images = floats(3)
    for training in (False, True):
        torch.manual_seed(5)
        logits = cut.train(training)(images)
        torch.manual_seed(5)
        assert torch.equal(logits[-1], whole.train(training)(images))  # dropout and batch norm included
        assert [values.shape for values in logits] == [(3, CLASSES)] * (len(CASES[name]) + 1)
    sum(values.square().sum() for values in logits).backward()
    assert all(parameter.grad is not None for parameter in cut.parameters())
    segment, head = count_macs(cut, SHAPE)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        whole.eval()(torch.zeros(1, *SHAPE))
    assert 2 * (sum(segment) + head[-1]) == counter.get_total_flops()


@pytest.mark.parametrize(("name", "millions"), [("resnet18", 1814.073), ("mobilenet_v3_small", 56.510)])
def test_macs_are_the_published_ones(name, millions):
    segment, head = count_macs(backbone(name, [], 1000, (3, 224, 224)), (3, 224, 224))
    assert (sum(segment) + sum(head)) / 1e6 == pytest.approx(millions, abs=1e-3)


def test_a_vit_answers_as_the_classifier_and_its_macs_are_those_counted_by_hand():
    network = backbone("vit_b_32", ["encoder.layers.encoder_layer_3"], shape=(3, 64, 64))
    with torch.device("meta"):
        whole = classifier_of("vit_b_32", (3, 64, 64), CLASSES)
    torch.nn.init.normal_(network.heads.head.weight)
    whole.load_state_dict(
        {name: value for name, value in network.state_dict().items() if "exit_" not in name}, assign=True
    )
    images = torch.nn.functional.interpolate(floats(2), size=64)
    with torch.inference_mode():
        assert torch.equal(network.eval()(images)[-1], whole.eval()(images))
    tokens, dim, hidden, patches = 5, 768, 3072, 4
    layer = tokens * 4 * dim * dim + 2 * tokens**2 * dim + tokens * 2 * dim * hidden
    embedding = patches * dim * 3 * 32 * 32
    fast = torch.backends.mha.get_fastpath_enabled()
    assert count_macs(network, (3, 64, 64)) == ([embedding + 4 * layer, 8 * layer], [dim * CLASSES] * 2)
    assert torch.backends.mha.get_fastpath_enabled() == fast


def test_what_belongs_to_no_layer_is_shared_after_a_move_to_another_device_or_type():
    network = backbone("convnext_tiny", ["features.1"])
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # new parameters, as on some accelerators
    try:
        network.half()
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)
    own = {id(parameter) for parameter in network.parameters()}
    used = {id(parameter) for stage in network.stages for module in stage for parameter in module.parameters()}
    assert used == own


def test_features_are_not_overwritten_by_what_follows():
    """A cut before an in-place ReLU: the head and a later reader see what the segment gave."""
    (first, head), (second, _) = backbone("resnet18", ["bn1"]).eval().stages
    features = first(floats(2))
    given = features.clone()
    second(features)
    assert torch.equal(features, given)
    assert head(features).shape == (2, CLASSES)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"backbone": "resnet81"}, r"a classifier of torchvision, like .*resnet18.*; got 'resnet81'"),
        ({"backbone": "fcn_resnet50"}, "must be a classifier of torchvision"),
        ({"exits": ["layer9"]}, "no part 'layer9' that runs; its first level: conv1, bn1, relu, maxpool, layer1"),
        (
            {"exits": ["layer2.0.conv1"]},
            r"no exit after 'layer2.0.conv1'.*these do: layer1_1_relu_1, layer2_0_conv1. Parts .*: conv1, bn1, relu",
        ),
        ({"exits": ["layer2", "layer1"]}, "parts that run one after the other before fc.*where layer1 is not"),
        ({"exits": ["layer1", "layer1"]}, "one after the other"),
        ({"exits": ["fc"]}, "one after the other before fc"),
        ({"backbone": "vit_b_16", "exits": []}, "vit_b_16 takes square images; got 32×40"),
        ({"backbone": "alexnet", "exits": []}, "alexnet does not take images of 32×40 pixels"),
        ({"head": "mlp"}, "head must be one of: pool_linear; got 'mlp'"),
    ],
)
def test_what_cannot_be_cut_is_refused_with_what_can(changed, message):
    with pytest.raises(ValueError, match=message):
        build("torchvision", {"backbone": "resnet18", "exits": ["layer1"]} | changed, (3, 32, 40), CLASSES)


def test_other_images_are_refused():
    with pytest.raises(ValueError, match="images of 3 channels; got 1"):
        build("torchvision", MOBILENET, (1, 32, 32), CLASSES)
    with pytest.raises(ValueError, match=r"vit_b_16 does not take images of 40×40 pixels: .*patch size"):
        build("torchvision", {"backbone": "vit_b_16", "exits": []}, (3, 40, 40), CLASSES)


def test_a_saved_backbone_answers_the_same(tmp_path):
    made = build("torchvision", MOBILENET, SHAPE, CLASSES).eval()
    about = Description("m", "torchvision", MOBILENET, list(SHAPE), list("abcde"))
    save_network(tmp_path / "n.safetensors", made, about)
    again, _ = load_network(tmp_path / "n.safetensors")
    bare = build("torchvision", MOBILENET, SHAPE, CLASSES)
    load_weights(bare, tmp_path / "n.safetensors")
    assert torch.equal(again(floats(2))[-1], bare.eval()(floats(2))[-1])


def at(path):
    """Return weights as torchvision lists them, published at a local file."""
    models = torchvision().models
    return models.WeightsEnum("Weights", {"DEFAULT": models.Weights(path.as_uri(), None, {})}).DEFAULT


def test_published_weights_load_but_for_classifier_and_side_heads(tmp_path):
    torch.manual_seed(1)
    published = classifier_of("mobilenet_v3_small", (3, 224, 224), 1000)
    content = tmp_path / "content"
    torch.save(published.state_dict(), content)
    digest = hashlib.sha256(content.read_bytes()).hexdigest()[:8]
    source = content.rename(tmp_path / f"mobilenet-{digest}.pth")
    made = build("torchvision", MOBILENET, SHAPE, CLASSES)
    kept = load_published(made, read_published(at(source), tmp_path / "cache"))
    assert set(kept) == side_head_names(made) | {"classifier.3.weight", "classifier.3.bias"}
    assert torch.equal(made.state_dict()["features.0.0.weight"], published.state_dict()["features.0.0.weight"])
    with pytest.raises(InputError, match=r"do not fit mobilenet_v3_small: features\.0\.0\.weight"):
        load_published(made, {name: value[..., :1] for name, value in published.state_dict().items() if value.ndim})
    (tmp_path / "cache" / source.name).write_bytes(b"something else")
    with pytest.raises(InputError, match="is not the file that was published: its sha256 is"):
        read_published(at(source), tmp_path / "cache")
    absent = tmp_path / "absent-01234567.pth"
    for problem in ("No such file", "invalid hash value"):  # is not there; is another file
        with pytest.raises(InputError, match=rf"{absent.name} could not be downloaded or read \(.*{problem}.*cache"):
            read_published(at(absent), tmp_path / "cache")
        absent.write_bytes(b"something else")


class Planted:
    """Unpickling this leaves a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_published_weights_are_read_without_running_their_code(tmp_path):
    content = tmp_path / "content"
    torch.save({"fc.weight": Planted(tmp_path / "unpickled")}, content)
    source = content.rename(tmp_path / f"code-{hashlib.sha256(content.read_bytes()).hexdigest()[:8]}.pth")
    with pytest.raises(InputError, match=r"could not be downloaded or read \(Weights only load failed.*set pretrained"):
        read_published(at(source), tmp_path / "cache")
    assert not (tmp_path / "unpickled").exists()


def test_pretrained_backbones_are_normalised_as_torchvision_says():
    models = torchvision().models
    for name in models.list_models(module=models):
        about = models.get_model_weights(name).DEFAULT.transforms()
        normalise = Definition(backbone=name, exits=[], pretrained=True).architecture.arguments["normalise"]
        if name in ("googlenet", "inception_v3"):  # they turn this into (p − 0.5) / 0.5 inside
            assert normalise == {"mean": [0.5] * 3, "std": [0.5] * 3}
        else:
            assert normalise == {"mean": list(about.mean), "std": list(about.std)}
    assert "normalise" not in Definition(backbone="resnet18", exits=[]).architecture.arguments


def test_batch_norm_is_folded_in_graphs_and_in_residual_blocks():
    small = {"channels": [4, 4, 8, 8]}
    mobilenet = build("torchvision", MOBILENET, SHAPE, CLASSES)
    for made in (settle(mobilenet), settle(build("resnet18", small, SHAPE, CLASSES))):
        features = floats(4)
        for segment, _ in made.stages:
            folded = fold_batch_norm(segment)
            assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
            assert any(isinstance(module, torch.nn.BatchNorm2d) for module in segment.modules())
            with torch.no_grad():
                given, features = folded(features), segment(features)
            assert torch.allclose(given, features, rtol=1e-4, atol=1e-5 * float(features.abs().max()))


def test_batch_norm_that_something_else_reads_or_that_runs_twice_stays():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = torch.nn.Conv2d(3, 3, 1), torch.nn.BatchNorm2d(3)

        def forward(self, images):
            before = self.conv(images)
            return self.norm(before) + before if self.also else self.norm(self.conv(self.norm(before)))

    for also in (True, False):
        module = Twice()
        module.also = also
        module.norm.running_mean.fill_(0.3)
        module.eval()
        assert torch.allclose(fold_batch_norm(module)(floats(2)), module(floats(2)), atol=1e-6)
        assert isinstance(fold_batch_norm(module).norm, torch.nn.BatchNorm2d)
