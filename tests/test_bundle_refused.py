"""A bundle that is not what was exported is refused, by name and in one line."""

import json
import shutil

import pytest

from offramp.project.errors import InputError
from offramp.runtime.bundle import load
from offramp.runtime.bundle.schema import MANIFEST, digest

FILES = ["README.md", "bundle.json", "stage_1.onnx", "stage_3.onnx", "stage_6.onnx"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", ["flip", "cut", "remove", "link", "folder"])
def test_a_harmed_file_is_named_in_one_line(bundle, tmp_path, name, harm):
    path = bundle / name
    content = bytearray(path.read_bytes())
    path.unlink()
    if harm == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif harm == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif harm == "link":
        (tmp_path / name).write_bytes(content)
        path.symlink_to(tmp_path / name)
    elif harm == "folder":
        path.mkdir()
    with pytest.raises(InputError, match=name) as error:
        load(bundle)
    assert "\n" not in str(error.value)


def test_a_file_too_many_or_of_another_name_is_named(bundle):
    (bundle / ".DS_Store").write_text("what systems leave does not matter")
    load(bundle)
    shutil.copy(bundle / "stage_1.onnx", bundle / "stage_2.onnx")
    with pytest.raises(InputError, match=r"stage_2\.onnx is not of this bundle"):
        load(bundle)
    (bundle / "stage_2.onnx").unlink()
    (bundle / "stage_1.onnx").rename(bundle / "stage_4.onnx")
    with pytest.raises(InputError, match=r"stage_4\.onnx is not of this bundle"):
        load(bundle)


def test_an_edited_threshold_is_noticed(bundle):
    content = json.loads((bundle / MANIFEST).read_text())
    content["policy"]["thresholds"]["exit_1"] += 0.01
    (bundle / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"bundle\.json does not fit its own digest: .* export it again"):
        load(bundle)


def test_a_bundle_that_was_only_laid_out_anew_is_the_same_bundle(bundle):
    content = json.loads((bundle / MANIFEST).read_text())
    (bundle / MANIFEST).write_text(json.dumps(content, sort_keys=False))
    load(bundle)


def _escape(content):
    content["files"]["../secret"] = content["files"].pop("stage_1.onnx")
    content["pieces"][0]["file"] = "../secret"


def _disable(content):
    content["policy"]["thresholds"]["exit_3"] = None


def _enable(content):
    content["policy"]["thresholds"]["exit_2"] = 0.5


def _swap(content):
    content["files"]["stage_1.onnx"], content["files"]["stage_3.onnx"] = (
        content["files"][name] for name in ("stage_3.onnx", "stage_1.onnx")
    )


def _other_size(content):
    content["preprocessing"]["image_shape"] = [3, 32, 32]


def _other_score(content):
    content["policy"]["score"] = "guess"


def _huge(content):
    content["files"]["stage_1.onnx"]["bytes"] = 2**40


@pytest.mark.parametrize(
    "edit", [_escape, _disable, _enable, _swap, _other_size, _other_score, _huge], ids=lambda edit: edit.__name__
)
def test_with_its_digest_made_anew_it_must_still_make_sense(bundle, edit):
    content = json.loads((bundle / MANIFEST).read_text())
    edit(content)
    content["sha256"] = digest(content)
    (bundle / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"bundle\.json|stage_|not of this bundle") as error:
        load(bundle)
    assert "\n" not in str(error.value)


def test_a_stage_in_the_place_of_another_is_refused_although_all_digests_fit(bundle):
    content = json.loads((bundle / MANIFEST).read_text())
    shutil.copy(bundle / "stage_6.onnx", bundle / "stage_3.onnx")
    content["files"]["stage_3.onnx"] = content["files"]["stage_6.onnx"]
    content["sha256"] = digest(content)
    (bundle / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"stage_3\.onnx takes or gives something else than bundle\.json says"):
        load(bundle)


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, '{"schema_version": 2}', '{"schema_version": NaN}', "\0"])
def test_a_manifest_that_is_none_is_refused(bundle, text):
    (bundle / MANIFEST).write_text(text)
    with pytest.raises(InputError, match=r"bundle\.json") as error:
        load(bundle)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["nothing", "."])
def test_a_folder_without_a_bundle_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="no bundle"):
        load(tmp_path / name)


def test_a_rule_that_does_not_fit_its_thresholds_is_refused(bundle):
    for change in ({"rule": "magic"}, {"rule": "batch"}, {"arguments": {"batch_size": 2}}):
        content = json.loads((bundle / MANIFEST).read_text())
        content["policy"] |= change
        (bundle / MANIFEST).write_text(json.dumps(content | {"sha256": digest(content)}))
        with pytest.raises(InputError, match="breaks the contract"):
            load(bundle)
        for key in change:
            del content["policy"][key]
        (bundle / MANIFEST).write_text(json.dumps(content))
