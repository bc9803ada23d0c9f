"""`offramp predict`: whatever stands in a folder is answered or named, as a table or as JSON lines."""

import json
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from cases.bundles import policy, some_images, tiny_graph
from PIL import Image

from offramp.commands.main import main
from offramp.runtime.bundle import Failure, Prediction, load
from offramp.runtime.bundle.images import find_images, read_image
from offramp.runtime.bundle.writing import write_bundle

SHAPE = (3, 24, 24)
OFFRAMP = [sys.executable, "-c", "from offramp.commands.main import main; raise SystemExit(main())"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "bundle"
    write_bundle(folder, tiny_graph(), policy(enabled=(1, 0, 1, 1, 0)))
    return str(folder)


@pytest.fixture
def images(tmp_path, monkeypatch):
    """A folder with five images in two places, and what is none."""
    monkeypatch.chdir(tmp_path)
    for name, image in zip(("b.png", "a.png", "c.PNG", "sub/z.bmp", "sub/a.tiff"), some_images(), strict=False):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    (tmp_path / "images" / "notes.txt").write_text("no image")
    (tmp_path / "images" / ".hidden.png").write_text("no image")
    return tmp_path / "images"


FOUND = ["images/a.png", "images/b.png", "images/c.PNG", "images/sub/a.tiff", "images/sub/z.bmp"]
ORDER = [1, 0, 2, 4, 3]  # in some_images


@pytest.mark.usefixtures("images")
def test_a_folder_gives_a_table_with_a_row_per_image_in_sorted_order(bundle, capsys):
    assert main(["predict", "--bundle", bundle, "images"]) == 0
    out, err = capsys.readouterr()
    header, *rows = out.splitlines()
    assert header.split() == ["image", "label", "exit", "uncertainty", "ms"]
    assert {len(row) for row in rows} == {len(header)}
    assert [row.split()[0] for row in rows] == FOUND
    found = load(bundle)
    answers = found(some_images()[ORDER])
    assert [row.split()[1:3] for row in rows] == [
        [found.classes[label], found.exits[k]] for label, k in zip(answers.label, answers.exit, strict=True)
    ]
    assert err.startswith("offramp: 5 predicted, ")
    assert err.endswith(" ms each on average\n")


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("batch_size", ["1", "2", "64"])
def test_json_lines_hold_the_same_answers_at_every_batch_size(bundle, capsys, batch_size):
    assert main(["predict", "--bundle", bundle, "images", "--json", "--batch-size", batch_size]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [list(line) for line in lines] == [["image", "label", "exit", "uncertainty", "ms"]] * 5
    assert [line["image"] for line in lines] == FOUND
    found = load(bundle)
    answers = found(some_images()[ORDER])
    assert [line["label"] for line in lines] == [found.classes[label] for label in answers.label]
    np.testing.assert_allclose([line["uncertainty"] for line in lines], answers.uncertainty, rtol=1e-5)
    assert all(line["ms"] > 0 for line in lines)


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(bundle, images, capsys):
    (images / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing")
    (images / "cut.png").write_bytes((images / "a.png").read_bytes()[:400])
    (images / "empty.png").touch()
    (images / "none").mkdir()
    given = ["images", "missing.png", "images/notes.txt", "images/none", "/dev/null", "images/a.png"]
    assert main(["predict", "--bundle", bundle, "--json", *given]) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 6
    named = [line.removeprefix("offramp: ").split(": ")[0] for line in err.splitlines()[:-1]]
    bad = ["images/broken.png", "images/cut.png", "images/empty.png"]
    assert named == [*bad, "missing.png", "images/notes.txt", "images/none", "/dev/null"]
    assert err.splitlines()[-1].endswith("; 7 failed")


@pytest.mark.usefixtures("images")
def test_where_nothing_could_be_predicted_the_status_is_2(bundle, capsys):
    assert main(["predict", "--bundle", bundle, "missing.png"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "offramp: missing.png: No such file or directory\nofframp: 0 predicted; 1 failed\n"
    assert main(["predict", "--bundle", "images", "images"]) == 2
    assert capsys.readouterr().err == (
        "offramp: images is no bundle: it has no bundle.json; `offramp export` writes one\n"
    )


@pytest.mark.usefixtures("images")
def test_a_list_on_standard_input_names_images_and_folders(bundle):
    given = b"images/b.png\r\n\nimages/sub\nmissing \xff.png\n"
    done = subprocess.run([*OFFRAMP, "predict", "--bundle", bundle, "--json", "-"], input=given, capture_output=True)
    assert done.returncode == 1
    named = [json.loads(line)["image"] for line in done.stdout.splitlines()]
    assert named == ["images/b.png", "images/sub/a.tiff", "images/sub/z.bmp"]
    assert b"missing \\udcff.png: No such file" in done.stderr


@pytest.mark.usefixtures("images")
def test_an_answer_comes_before_the_list_ends(bundle):
    command = [*OFFRAMP, "predict", "--bundle", bundle, "--json", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write(b"images/b.png\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["image"] == "images/b.png"
        process.stdin.close()
        assert process.wait() == 0


@pytest.mark.usefixtures("images")
def test_a_reader_that_stops_early_is_no_error(bundle):
    command = [*OFFRAMP, "predict", "--bundle", bundle, "--json", "--batch-size", "1", *["images"] * 40]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""


def test_predicting_from_python_yields_predictions_and_failures_in_order(bundle, images):
    found = load(bundle)
    answers = list(found.predict_files([images / "a.png", "missing.png", images / "sub"], batch_size=2))
    assert [type(answer) for answer in answers] == [Prediction, Failure, Prediction, Prediction]
    assert answers[1] == Failure("missing.png", "No such file or directory")


@pytest.mark.usefixtures("images")
def test_images_of_the_right_size_are_taken_as_they_are():
    np.testing.assert_array_equal(read_image("images/a.png", SHAPE), some_images()[1])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_pixel_becomes_what_the_bundle_takes(tmp_path, mode, channels):
    """A black and a white half stay so: nothing is clipped, inverted or scaled twice."""
    pixels = np.zeros((24, 24), np.uint8)
    pixels[:, 12:] = 255
    if mode.startswith("I"):
        image = Image.fromarray(pixels.astype(np.uint16 if mode == "I;16" else np.int32) * 257)
    else:
        image = Image.fromarray(pixels).convert("RGB").convert(mode)
    assert image.mode == mode
    image.save(tmp_path / "image.tiff")
    found = read_image(str(tmp_path / "image.tiff"), (channels, 24, 24))
    np.testing.assert_array_equal(found, np.repeat(pixels[:, :, None], channels, axis=2))


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    values = np.linspace(0, 65535, 24 * 24).round().astype(np.uint16).reshape(24, 24)
    Image.fromarray(values).save(tmp_path / "image.png")
    np.testing.assert_array_equal(
        read_image(str(tmp_path / "image.png"), (1, 24, 24))[..., 0], (values / 257).round().astype(np.uint8)
    )


def test_an_image_is_turned_as_its_camera_says_and_resized(tmp_path):
    """Tag 274 with value 6: what is stored on the left belongs at the top."""
    pixels = np.zeros((50, 100, 3), np.uint8)
    pixels[:, :50, 0] = 255
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(pixels).save(tmp_path / "image.jpg", exif=exif, quality=95)
    found = read_image(str(tmp_path / "image.jpg"), SHAPE)
    assert found.shape == (24, 24, 3)
    assert found[:10, :, 0].min() > 200
    assert found[14:, :, 0].max() < 50


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_an_image_that_would_fill_the_memory_is_refused_before_it_is_decoded(tmp_path, side):
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    (tmp_path / "bomb.png").write_bytes(content)
    found = read_image(str(tmp_path / "bomb.png"), SHAPE)
    assert isinstance(found, Failure)
    assert "decompression bomb" in found.reason


def test_floating_point_pixels_are_refused_by_name(tmp_path):
    Image.fromarray(np.ones((24, 24), np.float32)).save(tmp_path / "image.tiff")
    assert "floating-point" in read_image(str(tmp_path / "image.tiff"), SHAPE).reason


def test_a_link_to_a_folder_above_is_not_followed_forever(images):
    (images / "sub" / "up").symlink_to(images)
    assert list(find_images(["images"])) == FOUND


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
