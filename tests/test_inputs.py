import json
from pathlib import Path
from typing import Annotated

import pytest

from offramp.project.errors import InputError
from offramp.project.files import sha256
from offramp.project.inputs import named_files, write_inputs
from offramp.project.sections import InputFile, Section


class Pictures(Section):
    root: Annotated[str, InputFile(file=False, folder=True)]
    table: Annotated[str | None, InputFile(folder=True)] = None


class Weights(Section):
    weights: Annotated[str | None, InputFile()] = None
    epochs: int = 1


def inputs(tmp_path, *sections):
    return write_inputs(tmp_path / "inputs.json", tmp_path / "memory.json", named_files(*sections))


def test_named_files_are_digested_and_a_change_shows(tmp_path):
    file = tmp_path / "w.pt"
    file.write_text("one")
    first = inputs(tmp_path, Weights(weights=str(file)), Weights())
    assert first == {str(file): sha256(file)}
    file.write_text("three")
    assert inputs(tmp_path, Weights(weights=str(file))) != first
    assert json.loads((tmp_path / "inputs.json").read_text()) == {"files": {str(file): sha256(file)}}


def test_an_unchanged_file_is_not_read_again(tmp_path):
    file = tmp_path / "w.pt"
    file.write_text("one")
    inputs(tmp_path, Weights(weights=str(file)))
    memory = json.loads((tmp_path / "memory.json").read_text())
    memory[str(file.resolve())]["sha256"] = "remembered"
    (tmp_path / "memory.json").write_text(json.dumps(memory))
    assert inputs(tmp_path, Weights(weights=str(file))) == {str(file): "remembered"}
    for damaged in ("{broken", "[]", f'{{"{file.resolve()}": 1}}'):
        (tmp_path / "memory.json").write_text(damaged)
        assert inputs(tmp_path, Weights(weights=str(file))) == {str(file): sha256(file)}


def test_a_missing_file_is_named_with_its_parameter(tmp_path):
    with pytest.raises(InputError, match=r"weights names .*nothing\.pt, which is not a file"):
        inputs(tmp_path, Weights(weights=str(Path(tmp_path) / "nothing.pt")))


def test_nothing_named_gives_the_same_bytes_every_time(tmp_path):
    inputs(tmp_path, Weights())
    assert (tmp_path / "inputs.json").read_text() == '{\n  "files": {}\n}\n'


def folder_of_files(tmp_path):
    for name in ("a/one.png", "b/two.png", "readme"):
        file = tmp_path / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    return tmp_path / "images"


def test_a_folder_changes_with_the_names_and_contents_of_its_files(tmp_path):
    root = folder_of_files(tmp_path)
    seen = [inputs(tmp_path, Pictures(root=str(root)))]
    (root / ".hidden").write_text("passed over")
    assert inputs(tmp_path, Pictures(root=str(root))) == seen[0]
    (root / "a" / "one.png").write_text("two.png")  # of the same size
    seen.append(inputs(tmp_path, Pictures(root=str(root))))
    (root / "a" / "one.png").rename(root / "b" / "one.png")
    seen.append(inputs(tmp_path, Pictures(root=str(root))))
    (root / "b" / "one.png").unlink()
    seen.append(inputs(tmp_path, Pictures(root=str(root))))
    assert all(set(digests) == {str(root)} for digests in seen)
    assert len({digests[str(root)] for digests in seen}) == 4


def test_an_unchanged_folder_is_listed_and_not_read_again(tmp_path):
    root = folder_of_files(tmp_path)
    first = inputs(tmp_path, Pictures(root=str(root), table=str(root / "readme")))
    assert first[str(root / "readme")] == sha256(root / "readme")
    memory = json.loads((tmp_path / "memory.json").read_text())
    memory[str(root.resolve())]["sha256"] = "remembered"
    (tmp_path / "memory.json").write_text(json.dumps(memory))
    assert inputs(tmp_path, Pictures(root=str(root)))[str(root)] == "remembered"


def test_a_file_is_no_folder_and_either_may_be_named_where_either_will_do(tmp_path):
    root = folder_of_files(tmp_path)
    inputs(tmp_path, Pictures(root=str(root), table=str(root)))
    with pytest.raises(InputError, match=r"root names .*readme, which is not a folder here"):
        inputs(tmp_path, Pictures(root=str(root / "readme")))
    with pytest.raises(InputError, match=r"table names .*nothing, which is not a file or a folder here"):
        inputs(tmp_path, Pictures(root=str(root), table=str(root / "nothing")))
