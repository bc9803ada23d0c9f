import re
import shutil
from pathlib import Path

import pytest
import yaml
from conftest import edit_params
from pydantic import BaseModel

from offramp.cache.params import Logits
from offramp.calibration.params import Calibrate, Uncertainty
from offramp.commands.main import main
from offramp.evaluation.params import Sweep
from offramp.networks.training.params import Train
from offramp.params import read_project
from offramp.project.errors import InputError
from offramp.project.sections import Compute
from studies.__main__ import STUDIES
from studies.__main__ import main as check_studies

ROOT = Path(__file__).resolve().parents[1]
DEFAULTS: dict[str, type[BaseModel]] = {
    "uncertainty": Uncertainty,
    "calibrate": Calibrate,
    "compute": Compute,
    "logits": Logits,
    "sweep": Sweep,
    "train": Train,
}


@pytest.fixture
def params_file(tmp_path):
    return Path(shutil.copy(ROOT / "params.yaml", tmp_path))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("calibrate.targets", 0.9, r"calibrate.targets must be a non-empty list .*; got 0.9 \(write \[0.9\]\)"),
        ("calibrate.targets", [], "calibrate.targets must be a non-empty list"),
        ("calibrate.targets", [0.9, "foo"], "calibrate.targets must be"),
        ("calibrate.targets", [0.9, 0.9], "without repeats"),
        ("calibrate.targets", [0.9, 1.2], r"in \(0, 1\]"),
        ("calibrate.targets", [0.9, 0.0], r"in \(0, 1\]"),
        ("calibrate.targets", [0.9, float("nan")], "calibrate.targets must be"),
        (
            "calibrate.methods",
            ["per_exit", "magic"],
            "of: batch, budget, certified, .*, certified_overall, .*, per_exit, .*shared, single_jump; got",
        ),
        ("calibrate.methods", "shared", "calibrate.methods must be a non-empty list"),
        ("calibrate.select.method", "magic", "one of: batch, budget, certified, .*shared, single_jump; got 'magic'"),
        ("calibrate.select.target", 0.7, r"must be one of calibrate.max_loss \(0.005, 0.01, 0.02\), .*; got 0.7"),
        ("calibrate.methods", ["per_exit"], "must be one of calibrate.methods .*; got 'certified'"),
        ("calibrate.target", 0.7, "calibrate.target is not a parameter"),
        (
            "data.name",
            "imagenet",
            r"data.name must be one of the keys of datasets \(cifar10, cluttered_digits, .*\); got 'imagenet'",
        ),
        ("model.name", "vgg", "model.name must be one of the keys of models"),
        ("models.branchynet.network", "vgg", "must be one of: branchynet, resnet18, resnet34, vgg19_bn; got 'vgg'"),
        ("models.branchynet.exit_weights", [1.0], "a list of 6 numbers"),
        ("datasets.cluttered_digits.val", 0, "a whole number, at least 1; got 0"),
        ("datasets.cluttered_digits.val", 10, "no sample of class"),
        ("datasets.folder.source", "zip", "must be one of: cluttered_digits, folder, parquet, torchvision; got 'zip'"),
        ("datasets.cifar10.dataset", "ImageNet", "must be one of: CIFAR10, .*, SVHN; got 'ImageNet'"),
        ("datasets.cifar10.channels", 4, r"datasets.cifar10.channels must be 3 \(RGB\) or 1 \(grey\); got 4"),
        ("data.name", "folder", "root names path/to/images, which is not a folder here"),
        ("train.epochs", "8", "train.epochs must be a whole number, at least 1; got '8'"),
        ("train.batch_size", 1, "a whole number, at least 2; got 1"),
        ("train.learning_rate", 0, r"train.learning_rate must be a number in \(0, 1\]; got 0"),
        ("train.augment", 3, "train.augment must be a section; got 3"),
        ("train.amp", "yes", "train.amp must be true or false; got 'yes'"),
        ("datasets.cifar10.image_size", 0, "image_size must be a whole number from 1 to 4096 or null; got 0"),
        ("datasets.cifar10.root", "", "datasets.cifar10.root must be a non-empty string; got ''"),
        ("models.branchynet.channels", [32, 64], r"a list of 3 whole numbers, at least 1; got \[32, 64\]"),
        ("models.branchynet.channels", [32, 64, 0], "channels.2 must be a whole number, at least 1; got 0"),
        ("models.torchvision_resnet18.head", "linear", "head must be pool_linear; got 'linear'"),
        ("sweep.cutoff", float("inf"), "sweep.cutoff must be a finite number, at least 0; got inf"),
        ("uncertainty.score", "surprise", "must be one of: activation, change, energy, entropy, .*; got 'surprise'"),
        ("uncertainty.temperature", 2.0, "must be one of: none, per_exit; got 2.0"),
        ("calibrate.max_loss", 0.01, r"calibrate.max_loss must be a non-empty list .*; got 0.01 \(write \[0.01\]\)"),
        ("calibrate.max_loss", [0.0], "numbers between 0 and 1"),
        ("calibrate.max_loss", [0.01, 1.0], "numbers between 0 and 1"),
        ("calibrate.budgets", [1.5], r"calibrate.budgets must be .* in \(0, 1\]"),
        ("calibrate.delta", 0, "calibrate.delta must be a number from 0.001 to below 1; got 0"),
        ("calibrate.delta", "0.1", "calibrate.delta must be a number from 0.001 to below 1; got '0.1'"),
        ("calibrate.tune_fraction", 1.0, "calibrate.tune_fraction must be a number between 0 and 1"),
        ("calibrate.fold_seed", -1, "calibrate.fold_seed must be a whole number"),
        ("calibrate.simultaneous", "yes", "calibrate.simultaneous must be true or false"),
        ("calibrate.family", "isotonic", "must be one of: equal_change, geometric"),
        ("calibrate.test", "z", "must be one of: difference, score"),
        ("calibrate.conformal", "max", "must be one of: mean, running_max"),
        ("calibrate.cost", "macs", "calibrate.cost must be one of: costs, latency; got 'macs'"),
        ("calibrate.latency.engine", "tvm", "must be one of: onnx, onnx_int8, torch; got 'tvm'"),
        ("calibrate.latency.batch_size", 0, "a whole number, at least 1; got 0"),
        ("calibrate.targets", [0.90000001, 0.9], "calibrate.targets must .* got 0.90000001 and 0.9, both 0.9"),
        ("calibrate.max_loss", [0.01, 0.010000001], "calibrate.max_loss must .* got 0.01 and 0.010000001, both 0.01"),
        ("sweep.cutoffs", 1, "a whole number from 2"),
        ("sweep.batch_size", 0, "sweep.batch_size must be a whole number from 1 to 1000000; got 0"),
        ("calibrate.batch.batch_size", 2.5, "calibrate.batch.batch_size must be a whole number from 1"),
        ("calibrate.batch.reduce", "median", "one of: max, mean; got 'median'"),
        ("compute.device", "tpu", "compute.device must be auto, cpu"),
        ("logits.dtype", "int8", "must be one of: float16, float32"),
        ("seed", -1, "seed must be a whole number"),
        ("extra", 1, "extra is not a parameter"),
    ],
)
def test_a_bad_value_is_one_line_and_status_2(params_file, capsys, key, value, message):
    edit_params(params_file, key, value)
    assert main(["check", str(params_file)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error), error


@pytest.mark.parametrize("text", ["", "[]", "a: [", "\x00", "[" * 5000])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(InputError, match=r"params\.yaml"):
        read_project(tmp_path / "params.yaml")


def test_a_missing_section_is_named(params_file):
    content = yaml.safe_load(params_file.read_text())
    del content["models"]
    params_file.write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match="models is missing"):
        read_project(params_file)


def test_exponents_without_a_point_are_numbers(params_file):
    text = params_file.read_text().replace("learning_rate: 0.004", "learning_rate: 4e-3")
    params_file.write_text(text)
    assert read_project(params_file).train.learning_rate == 0.004


def test_yaml_is_read_as_dvc_reads_it(params_file):
    text = params_file.read_text()
    params_file.write_text(text.replace("seed: 17 ", "seed: 017 ", 1))
    assert read_project(params_file).seed == 17
    params_file.write_text(text.replace("simultaneous: false", "simultaneous: no", 1))
    with pytest.raises(InputError, match=r"calibrate\.simultaneous must be true or false; got 'no'"):
        read_project(params_file)


@pytest.mark.parametrize(("section", "study"), [("depth", "depth"), ("predictive", "predictive_exit")])
def test_a_section_that_moved_to_a_study_is_said_to_be_there(params_file, capsys, section, study):
    edit_params(params_file, section, {})
    assert main(["check", str(params_file)]) == 2
    assert f"section {section} has moved; write it in studies/{study}/params.yaml" in capsys.readouterr().err


def test_the_parameters_of_every_study_are_checked(tmp_path, monkeypatch):
    for study in STUDIES:
        (tmp_path / "studies" / study).mkdir(parents=True)
        shutil.copy(ROOT / f"studies/{study}/params.yaml", tmp_path / f"studies/{study}")
    monkeypatch.chdir(tmp_path)
    check_studies()
    edit_params(tmp_path / "studies/depth/params.yaml", "depth.samples", 0)
    with pytest.raises(InputError, match=r"depth\.samples must be a whole number, at least 1; got 0"):
        check_studies()


@pytest.mark.parametrize("section", DEFAULTS)
def test_params_yaml_holds_the_documented_defaults(section):
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    assert DEFAULTS[section]().model_dump() == content[section]


def test_every_value_in_params_yaml_has_a_comment():
    undocumented = {"network: branchynet", "channels: [16, 32, 64]"}  # those of the second model repeat the first's
    for line in (ROOT / "params.yaml").read_text().splitlines():
        key, _, value = line.strip().partition(":")
        if value.strip() and "#" not in line and line.strip() not in undocumented:
            assert key == "exit_weights", line


def test_targets_that_differ_in_six_digits_are_two_policies():
    assert Calibrate(targets=[0.90001, 0.9, 1]).targets == [0.90001, 0.9, 1]
