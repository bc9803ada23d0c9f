import pytest

from offramp.project.errors import InputError
from offramp.project.files import _one_after_the_other, replacing_folder


def anything(folder):
    """Let any folder be replaced."""


def write(folder, text):
    with replacing_folder(folder, anything) as temporary:
        (temporary / "file").write_text(text)


def test_a_folder_takes_the_place_of_another_and_nothing_is_left_beside_it(tmp_path):
    for text in ("first", "second"):
        write(tmp_path / "new" / "folder", text)
        assert (tmp_path / "new" / "folder" / "file").read_text() == text
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["folder"]


def test_a_failure_leaves_the_old_folder_as_it_was(tmp_path):
    write(tmp_path / "folder", "old")
    with pytest.raises(RuntimeError), replacing_folder(tmp_path / "folder", anything) as temporary:
        (temporary / "file").write_text("half")
        raise RuntimeError
    assert (tmp_path / "folder" / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_where_folders_cannot_be_exchanged_one_is_moved_after_the_other(tmp_path):
    for name in ("new", "place"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    _one_after_the_other(tmp_path / "new", tmp_path / "place")
    assert (tmp_path / "place" / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


def test_the_folder_one_is_in_is_not_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="the folder you are in"):
        write(tmp_path, "text")
    assert list(tmp_path.iterdir()) == []
