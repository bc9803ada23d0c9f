import json
from pathlib import Path
from typing import Annotated

import pytest

from offramp.errors import InputError
from offramp.files import sha256
from offramp.inputs import named_files, write_inputs
from offramp.params.reading import InputFile, Section


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
    (tmp_path / "memory.json").write_text("{broken")
    assert inputs(tmp_path, Weights(weights=str(file))) == {str(file): sha256(file)}


def test_a_missing_file_is_named_with_its_parameter(tmp_path):
    with pytest.raises(InputError, match=r"weights names .*nothing\.pt, which is not a file"):
        inputs(tmp_path, Weights(weights=str(Path(tmp_path) / "nothing.pt")))


def test_nothing_named_gives_the_same_bytes_every_time(tmp_path):
    inputs(tmp_path, Weights())
    assert (tmp_path / "inputs.json").read_text() == '{\n  "files": {}\n}\n'
