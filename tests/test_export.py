"""`offramp export`: which networks and policies it takes, and what it says."""

import json
import math

import onnx
import pytest
from cases.bundles import CLASSES, EXITS, policy, tiny_graph
from onnx import TensorProto, helper

from offramp.commands.main import main
from offramp.policies.file import write_policies
from offramp.policies.policy import Policies, Policy
from offramp.project.errors import InputError
from offramp.runtime.bundle import load
from offramp.runtime.bundle.graph import Graph, read_graph
from offramp.runtime.bundle.writing import write_bundle
from offramp.scores.scoring import Scoring

EASY = Policy((0.5, None, 0.5, None, None, math.inf), method="shared", target=0.9)
HARD = Policy((None,) * 5 + (math.inf,), method="certified", target=0.01, feasible=False, reason="too few labels")
EXPORT = ["export", "--policies", "policies.json", "--model", "network.onnx", "--out", "out/bundle"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A network as ONNX and two policies for it, the selected one infeasible."""
    monkeypatch.chdir(tmp_path)
    onnx.save(tiny_graph().model, "network.onnx")
    write_policies(tmp_path / "policies.json", Policies(Scoring.plain("entropy", EXITS), [EASY, HARD], HARD))
    return tmp_path


def test_a_policy_is_exported_by_name(project, capsys):
    assert main([*EXPORT, "--policy", "shared@0.9"]) == 0
    assert capsys.readouterr().out.startswith("out/bundle: shared@0.9 of tiny (onnx), exits 1, 3, 6, ")
    found = load(project / "out" / "bundle")
    assert found.policy.thresholds == EASY.thresholds
    assert found.policy.feasible


def test_an_infeasible_policy_is_exported_and_everything_says_so_first(project, capsys):
    assert main([*EXPORT, "--policy", "selected"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "certified@0.01 is INFEASIBLE: too few labels"
    found = load(project / "out" / "bundle")
    assert (found.policy.name, found.policy.feasible) == ("certified@0.01", False)
    text = (project / "out" / "bundle" / "README.md").read_text().splitlines()
    assert text[2] == "**certified@0.01 is INFEASIBLE: too few labels**"
    main(["predict", "--bundle", "out/bundle", "none.png"])
    assert capsys.readouterr().err.splitlines()[0] == "offramp: certified@0.01 is INFEASIBLE: too few labels"


@pytest.mark.parametrize(("name", "stages"), [("full", 1), ("cutoff@0.6", 6)])
def test_policies_that_stand_in_no_file_are_exported_too(project, name, stages):
    assert main([*EXPORT, "--policy", name]) == 0
    assert len(list((project / "out" / "bundle").glob("stage_*"))) == stages


def test_the_python_lines_of_a_bundles_readme_run(project, capsys):
    from cases.bundles import some_images
    from PIL import Image

    assert main([*EXPORT, "--policy", "shared@0.9"]) == 0
    for place in (project / "image.png", project / "folder" / "of" / "images" / "1.png"):
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(some_images()[0]).save(place)
    code = (project / "out" / "bundle" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    assert len(code.splitlines()) <= 10
    capsys.readouterr()
    exec(code.replace("path/to/this/folder", "out/bundle"), {"images": some_images()})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("(")[0] for line in lines[:2]] == ["Prediction", "Prediction"]
    assert len(json.loads(lines[2].replace("'", '"'))) == len(some_images())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "nope"], "there is no policy 'nope'; known: selected, full, cutoff@X, shared@0.9"),
        (["--policy", "full", "--policies", "none.json"], "there is no policies file none.json"),
        (["--policy", "full", "--model", "none.onnx"], "there is no none.onnx; `dvc repro -P`"),
        (["--policy", "full", "--model", "none.safetensors"], "there is no none.safetensors; run `dvc repro train`"),
        (["--policy", "full", "--model", "policies.json"], "takes a network as .safetensors or .onnx"),
        (["--policy", "full", "--out", "."], "is no bundle"),
        (["--policy", "full", "--out", "policies.json"], "policies.json is a file; name a folder to write"),
    ],
)
def test_what_the_user_got_wrong_is_one_line_and_status_2(project, capsys, arguments, message):
    assert main([*EXPORT, *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert sorted(path.name for path in project.iterdir()) == ["network.onnx", "policies.json"]


def test_policies_of_another_network_are_refused(project, capsys):
    few = EXITS[:3]
    other = Policy((0.5, 0.5, math.inf), method="shared", target=0.9)
    write_policies(project / "policies.json", Policies(Scoring.plain("entropy", few), [other], other))
    assert main([*EXPORT, "--policy", "selected"]) == 2
    assert "shared@0.9 is for 3 exits, network.onnx has 6" in capsys.readouterr().err


def test_a_score_that_was_fitted_for_other_classes_is_refused(tmp_path):
    fitted = policy("change")
    graph = tiny_graph()
    two = Graph(graph.model, graph.about.model_copy(update={"classes": CLASSES[:2]}), graph.path)
    with pytest.raises(InputError, match="fitted for another number of classes than the 2"):
        write_bundle(tmp_path / "b", two, fitted)
    assert not (tmp_path / "b").exists()


def _foreign(model):
    del model.metadata_props[:]


def _broken_metadata(model):
    model.metadata_props[0].value = model.metadata_props[0].value.replace('"exits"', '"doors"')


def _without_logits(model):
    del model.graph.output[1]


def _of_other_size(model):
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 32


def _external(model):
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_foreign, "does not say which network it holds"),
        (_broken_metadata, "exits"),
        (_without_logits, "has no logits_1"),
        (_of_other_size, r"has no images of type uint8 and shape \[24, 24, 3\]"),
        (_external, "keeps weights in files of their own"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_graph_that_offramp_did_not_export_is_refused(tmp_path, edit, message):
    model = onnx.ModelProto()
    model.CopyFrom(tiny_graph().model)
    edit(model)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=message) as error:
        read_graph(tmp_path / "m.onnx")
    assert "\n" not in str(error.value)


def test_bytes_that_are_no_onnx_are_refused(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"not a graph")
    with pytest.raises(InputError, match=r"m\.onnx is not a readable ONNX file"):
        read_graph(tmp_path / "m.onnx")


def test_a_quantised_network_makes_a_bundle_of_the_engine_onnx_int8():
    model = onnx.ModelProto()
    model.CopyFrom(tiny_graph().model)
    assert tiny_graph().engine == "onnx"
    model.graph.node.append(helper.make_node("DequantizeLinear", ["x", "scale"], ["y"]))
    assert Graph(model, tiny_graph().about, tiny_graph().path).engine == "onnx_int8"
