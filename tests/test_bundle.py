"""A bundle answers as runtime and replay do, and nothing but what was exported is loaded."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from cases.bundles import CLASSES, EXITS, WARM, policy, some_images, some_logits, tiny_graph, widest_gap

from offramp.policies.file import write_policies
from offramp.policies.policy import Policies, Policy, exits_taken, full_network
from offramp.policies.rules import Batch
from offramp.project.errors import InputError
from offramp.runtime.bundle import load
from offramp.runtime.bundle.writing import write_bundle
from offramp.runtime.engines.onnx import OnnxEngine
from offramp.runtime.live import Runtime
from offramp.scores.change import CHANGE
from offramp.scores.registry import SCORES
from offramp.scores.scoring import Scoring

FULL = Policy(full_network(6), method="per_exit", target=0.9)
FILES = ["README.md", "bundle.json", "stage_1.onnx", "stage_3.onnx", "stage_6.onnx"]
BLOCKED = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "onnx", "onnxscript", "safetensors"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.split(".")[0])
sys.meta_path.insert(0, Absent())
from offramp.commands.main import main
raise SystemExit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("temperature", [None, WARM], ids=["at temperature 1", "with temperatures"])
@pytest.mark.parametrize("score", SCORES)
def test_every_answer_is_that_of_the_runtime_and_of_the_replay_of_the_logits(tmp_path, score, temperature):
    chosen = policy(score, temperature, enabled=(1, 0, 1, 1, 0))
    write_bundle(tmp_path / "b", tiny_graph(), chosen)
    answers = load(tmp_path / "b")(some_images())
    taken = exits_taken(chosen.scoring(some_logits()), chosen.thresholds)
    assert answers.exit.tolist() == taken.tolist()
    rows = np.arange(len(taken))
    assert answers.label.tolist() == some_logits().argmax(axis=2)[rows, taken].tolist()
    assert set(taken.tolist()) == {0, 2, 3, 5}
    engine = OnnxEngine(tiny_graph().model, threads=2)
    live = Runtime(engine, chosen, report_last=score != CHANGE)(some_images())
    np.testing.assert_array_equal(answers.uncertainty, live.uncertainty)


def test_a_stage_is_written_for_each_enabled_exit_and_for_no_other(exported_bundle):
    assert sorted(path.name for path in exported_bundle.iterdir()) == FILES


@pytest.mark.parametrize(
    ("thresholds", "stages", "last"),
    [
        (full_network(6), ["stage_6.onnx"], 5),
        ((None, None, math.inf, None, None, math.inf), ["stage_3.onnx", "stage_6.onnx"], 2),
    ],
    ids=["the full network", "one side exit, where everyone leaves"],
)
def test_a_policy_of_one_exit_sends_everyone_there(tmp_path, thresholds, stages, last):
    write_bundle(tmp_path / "b", tiny_graph(), Policy(thresholds, scoring=Scoring.plain("entropy", EXITS), title="one"))
    assert sorted(path.name for path in (tmp_path / "b").glob("*.onnx")) == stages
    answers = load(tmp_path / "b")(some_images())
    assert answers.exit.tolist() == [last] * len(some_images())
    assert answers.label.tolist() == some_logits()[:, last].argmax(axis=1).tolist()
    assert np.isfinite(answers.uncertainty).all()


def test_a_bundle_carries_the_rule_and_makes_batches_of_its_size(tmp_path):
    from PIL import Image

    size, scoring = 5, Scoring.plain("entropy", EXITS)
    value = Batch(size, "max", 0).of_cache(scoring(some_logits()), np.arange(len(some_images())))[:, 2]
    tolerance = widest_gap(np.unique(value))
    chosen = Policy(
        (None, None, tolerance, None, None, math.inf), Batch(size, "max", tolerance), scoring=scoring, title="whole"
    )
    write_bundle(tmp_path / "b", tiny_graph(), chosen)
    found = load(tmp_path / "b")
    assert found.policy == chosen
    assert "It decides for batches of 5 by their largest uncertainty" in (tmp_path / "b" / "README.md").read_text()
    expected = np.where(value <= tolerance, 2, 5)
    assert set(expected.tolist()) == {2, 5}
    paths = [tmp_path / f"{k}.png" for k in range(len(expected))]
    for path, image in zip(paths, some_images(), strict=True):
        Image.fromarray(image).save(path)
    answers = list(found.predict_files(paths))
    assert [answer.exit for answer in answers] == [EXITS[k] for k in expected]
    one_by_one = [answer.exit for answer in found.predict_files(paths, batch_size=1)]
    assert one_by_one != [answer.exit for answer in answers]
    assert found(some_images()[:size]).exit.tolist() == expected[:size].tolist()


def test_single_samples_leave_no_rule_in_a_bundle(exported_bundle):
    assert not {"rule", "arguments"} & set(json.loads((exported_bundle / "bundle.json").read_text())["policy"])


def test_a_bundle_knows_its_classes_exits_and_policy(exported_bundle):
    found, wanted = load(exported_bundle), policy(enabled=(1, 0, 1, 0, 0))
    assert (found.classes, found.exits, found.image_shape) == (CLASSES, EXITS, (3, 24, 24))
    assert found.policy == wanted
    assert found.manifest.model.sha256 == tiny_graph().about.model_sha256


def test_no_images_have_no_answers_and_other_images_are_refused(exported_bundle):
    found = load(exported_bundle)
    assert len(found(np.empty((0, 24, 24, 3), np.uint8)).label) == 0
    for images in (np.zeros((2, 3, 24, 24), np.uint8), np.zeros((2, 24, 24, 3)), np.zeros((24, 24, 3), np.uint8)):
        with pytest.raises(InputError, match=r"takes uint8 images of shape \(samples, 24, 24, 3\); got"):
            found(images)


def test_a_bundle_predicts_in_a_clean_folder_where_torch_and_onnx_are_absent(bundle, tmp_path):
    from PIL import Image

    for k, image in enumerate(some_images()[:8]):
        Image.fromarray(image).save(tmp_path / f"{k}.png")
    names = [f"{k}.png" for k in range(8)]
    command = [sys.executable, "-c", BLOCKED, "predict", "--json", "--bundle", "bundle", *names]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    here = load(bundle)
    answers = here(some_images()[:8])
    assert [line["label"] for line in lines] == [here.classes[label] for label in answers.label]
    assert [line["exit"] for line in lines] == [here.exits[k] for k in answers.exit]


@pytest.mark.parametrize(
    ("arguments", "package"),
    [("export --policy full --out b --policies p.json --model m.onnx", "onnx"), ("costs branchynet", "torch")],
)
def test_a_command_that_needs_more_than_is_installed_says_so_in_one_line(tmp_path, arguments, package):
    write_policies(tmp_path / "p.json", Policies(Scoring.plain("entropy", EXITS), [FULL], FULL))
    command = [sys.executable, "-c", BLOCKED, *arguments.split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"offramp: this needs {package}, which is not installed: pip install 'offramp[pipeline]'\n"


def test_exporting_again_replaces_a_bundle_and_gives_the_same_bytes(bundle, exported_bundle):
    write_bundle(bundle, tiny_graph(), policy())
    assert len(list(bundle.glob("stage_*"))) == 6
    write_bundle(bundle, tiny_graph(), policy(enabled=(1, 0, 1, 0, 0)))
    assert _contents(bundle) == _contents(exported_bundle)
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]


def test_a_folder_of_something_else_is_never_replaced(bundle, tmp_path):
    (bundle / "notes.txt").write_text("mine")
    before = _contents(bundle)
    with pytest.raises(InputError, match=r"holds 'notes\.txt', which is not of a bundle"):
        write_bundle(bundle, tiny_graph(), policy())
    assert _contents(bundle) == before
    with pytest.raises(InputError, match="is no bundle"):
        write_bundle(tmp_path, tiny_graph(), policy())
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        write_bundle(tmp_path / "file", tiny_graph(), policy())
    (tmp_path / "empty").mkdir()
    write_bundle(tmp_path / "empty", tiny_graph(), policy())


def test_a_link_to_a_bundle_stays_and_what_it_points_to_is_replaced(bundle, tmp_path):
    (tmp_path / "current").symlink_to("bundle")
    write_bundle(tmp_path / "current", tiny_graph(), policy())
    assert (tmp_path / "current").is_symlink()
    assert len(list(bundle.glob("stage_*"))) == 6


def _contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}
