import io
import os
import struct
import zlib

import numpy as np
import pytest
from cases.preparing import dataset, noise, prepare, together
from PIL import Image

from offramp.data import sources
from offramp.data.prepared import decode
from offramp.project.errors import InputError
from offramp.runtime.bundle.images import read_image

LABELS = ("ant", "bee")


def fill(folder, n, labels=LABELS, seed=0):
    for number, label in enumerate(labels):
        (folder / label).mkdir(parents=True)
        for row, pixels in enumerate(noise(n, seed + number)):
            Image.fromarray(pixels).save(folder / label / f"{row:02}.png")
    return folder


@pytest.fixture
def two(tmp_path):
    """Return a folder with train and test, 20 and 10 images of each of two classes."""
    fill(tmp_path / "images" / "train", 20)
    fill(tmp_path / "images" / "test", 10, seed=50)
    return tmp_path / "images"


def both(root, **more):
    return {"source": "folder", "root": str(root), "val": 8} | more


@pytest.mark.parametrize(
    ("val_from", "counts"),
    [("train", {"train": 32, "val": 8, "test": 20}), ("test", {"train": 40, "val": 8, "test": 12})],
)
def test_val_comes_from_the_side_it_names_and_every_image_is_in_one_split(two, tmp_path, val_from, counts):
    found = prepare(tmp_path, **both(two, val_from=val_from))
    assert {name: len(split.labels) for name, split in found.items()} == counts
    assert sorted(together(found, "paths")) == sorted(path.relative_to(two).as_posix() for path in two.rglob("*.png"))
    assert all(path.startswith(val_from) for path in found["val"].paths)
    assert {split.split.val_from for split in found.values()} == {val_from}
    for split in found.values():
        assert [LABELS[label] for label in split.labels] == [path.split("/")[1] for path in split.paths]
        assert all(
            two.joinpath(path).read_bytes() == kept for path, kept in zip(split.paths, split.contents, strict=True)
        )


def test_the_order_is_a_seeded_permutation_of_the_listing(two, tmp_path):
    first, again, other = (prepare(tmp_path, seed=seed, **both(two))["train"].paths for seed in (17, 17, 18))
    assert first == again
    assert first != sorted(first)
    assert first != other


def test_one_folder_is_dealt_to_all_three_splits(tmp_path):
    root = fill(tmp_path / "images", 20)
    found = prepare(tmp_path, **both(root, test=10))
    assert {name: len(split.labels) for name, split in found.items()} == {"train": 22, "val": 8, "test": 10}
    assert len(set(together(found, "paths"))) == 40
    moved = prepare(tmp_path, **both(root, test=10, val=8, val_from="test"))
    assert {name: len(split.labels) for name, split in moved.items()} == {"train": 30, "val": 8, "test": 2}
    assert set(moved["val"].paths) < set(found["test"].paths)
    with pytest.raises(InputError, match=r"no folder test; datasets\.mine\.test must say how many"):
        prepare(tmp_path, **both(root))
    with pytest.raises(InputError, match=r"datasets\.mine\.test must be smaller than the 40 images there are; got 40"):
        prepare(tmp_path, **both(root, test=40))


def test_a_number_for_test_beside_a_folder_test_is_refused(two):
    with pytest.raises(InputError, match=r"datasets\.mine\.test is 5, but .*test is the test split"):
        sources.check("mine", dataset(**both(two, test=5)), 17)


def awkward():
    """Yield a name, a picture and its size: everything that is no 8-bit RGB picture of the usual size."""
    pixels = noise(1, 9)[0]
    yield "grey.png", Image.fromarray(pixels[..., 0])
    yield "alpha.png", Image.fromarray(np.dstack([pixels, pixels[..., :1]]))
    yield "palette.gif", Image.fromarray(pixels).quantize(7)
    yield "sixteen.png", Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    yield "large.bmp", Image.fromarray(noise(1, 8, side=9)[0])


def test_other_modes_and_sizes_become_what_predict_reads(two, tmp_path):
    for name, image in awkward():
        image.save(two / "train" / "ant" / name)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(1, 7)[0]).save(two / "train" / "bee" / "turned.jpg", exif=exif, quality=95)
    for channels in (3, 1):
        found = prepare(tmp_path, **both(two, image_size=6, channels=channels))
        assert found["test"].split.image_shape == (channels, 6, 6)
        for images, paths in ((split.images, split.paths) for split in found.values()):
            for image, path in zip(images, paths, strict=True):
                assert np.array_equal(image, read_image(str(two / path), (channels, 6, 6))), path


def test_bytes_that_fit_are_kept_and_the_rest_is_png(two, tmp_path):
    plain, turned = two / "train" / "bee" / "plain.jpg", two / "train" / "bee" / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(noise(1, 7)[0]).save(plain)
    Image.fromarray(noise(1, 7)[0]).save(turned, exif=exif)
    found = prepare(tmp_path, **both(two))
    kept = dict(zip(together(found, "paths"), together(found, "contents"), strict=True))
    assert kept["train/bee/plain.jpg"] == plain.read_bytes()
    assert kept["train/bee/turned.jpg"][:4] == b"\x89PNG"


def test_an_image_of_another_size_is_named_where_no_size_is_given(two, tmp_path):
    Image.fromarray(noise(1, 8, side=9)[0]).save(two / "test" / "bee" / "large.png")
    (tmp_path / "train.parquet").write_text("precious")
    with pytest.raises(
        InputError, match=r"test/bee/large\.png is 9×9 pixels and the first image 6×6.*mine\.image_size"
    ):
        prepare(tmp_path, **both(two))
    assert (tmp_path / "train.parquet").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "train.parquet"]


def test_unreadable_images_are_named_counted_and_left_out(two, tmp_path):
    cut = (two / "train" / "ant" / "00.png").read_bytes()[:60]
    for row in range(11):
        (two / "train" / "ant" / f"{row:02}.png").write_bytes(cut)
    (two / "test" / "bee" / "text.jpg").write_text("no image")
    (two / "test" / "bee" / "notes.txt").write_text("passed over")
    (two / "test" / "bee" / ".hidden.jpg").write_text("passed over")
    notes = []
    found = prepare(tmp_path, notes=notes, **both(two))
    assert notes[0] == "12 unreadable images left out:"
    assert notes[1].startswith("  train/ant/00.png: ")
    assert len(notes) == 12
    assert notes[11] == "  and 2 more"
    assert len(together(found, "paths")) == 60 - 11
    lost = {name: split.about.get("unreadable") for name, split in found.items()}
    assert lost["test"] == 1
    assert lost["train"] + (lost["val"] or 0) == 11


@pytest.mark.skipif(os.name != "posix", reason="names are bytes")
def test_names_that_are_not_utf_8_can_be_printed_and_classes_must_be(two, tmp_path):
    (two / "train" / "ant" / os.fsdecode(b"no\xff.png")).write_text("no image")
    (two / "train" / "ant" / "00.png").rename(two / "train" / "ant" / os.fsdecode(b"yes\xff.png"))
    notes = []
    found = prepare(tmp_path, notes=notes, **both(two))
    assert notes[1].encode().startswith("  train/ant/no\ufffd.png: it is no image".encode())
    assert "train/ant/yes\ufffd.png" in together(found, "paths")
    for part in ("train", "test"):
        (two / part / "bee").rename(two / part / os.fsdecode(b"b\xff"))
    with pytest.raises(InputError, match=r"train: the class name 'b\\udcff' is not UTF-8"):
        sources.check("mine", dataset(**both(two)), 17)


def claiming(width, height):
    """Return a PNG of one pixel whose header claims another size."""
    file = io.BytesIO()
    Image.fromarray(noise(1, side=1)[0]).save(file, "PNG")
    header = b"IHDR" + struct.pack(">II", width, height) + file.getvalue()[24:29]
    return file.getvalue()[:12] + header + struct.pack(">I", zlib.crc32(header)) + file.getvalue()[33:]


@pytest.mark.parametrize("side", [11000, 40000])  # beyond the limit, and beyond twice the limit
def test_an_image_that_would_fill_the_memory_is_left_out_and_refused_in_a_prepared_file(two, tmp_path, side):
    (two / "train" / "ant" / "bomb.png").write_bytes(claiming(side, side))
    notes = []
    found = prepare(tmp_path, notes=notes, **both(two))
    assert notes[1].startswith("  train/ant/bomb.png: Image size")
    with pytest.raises(InputError, match=r"image of sample 5 cannot be read: (it has 9000×9000 pixels|Image size)"):
        decode([claiming(9000, 9000) if side == 11000 else claiming(side, side)], found["test"].split, np.array([5]))


def test_a_class_or_split_without_a_readable_image_is_refused(two, tmp_path):
    for path in (two / "test").rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(
        InputError, match=r"has no row for test after 20 unreadable images were left out \(first test/ant"
    ):
        prepare(tmp_path, **both(two))
    for path in (two / "train" / "ant").iterdir():
        path.write_bytes(b"")
    with pytest.raises(InputError, match="no sample of class ant is among them after 40 unreadable images"):
        prepare(tmp_path, **both(two))


def test_folders_that_are_no_data_set_are_refused(two, tmp_path):
    def refused(match, **parameters):
        with pytest.raises(InputError, match=match):
            sources.check("mine", dataset(**(both(two) | parameters)), 17)

    refused(r"datasets\.mine\.root names .*nowhere", root=str(tmp_path / "nowhere"))
    refused(r"datasets\.mine\.val must be smaller than the 40 train images it is taken from; got 40", val=40)
    refused(r"datasets\.mine\.val is 1: with seed 17 no sample of class .* so take more", val=1)
    refused(r"leaves 1 rows for train: .* so take fewer for val", val=39)
    (two / "train" / "cat").mkdir()
    refused(r"there is no image in .*cat")
    Image.fromarray(noise(1)[0]).save(two / "train" / "cat" / "one.png")
    refused(r"train has classes that .*test lacks: cat; both must have the same")
    (two / "train" / "cat" / "kittens").mkdir()
    refused(r"kittens is a folder in a class folder")
    one = fill(tmp_path / "one", 1, labels=["ant"])
    refused(r"datasets\.mine\.test must be smaller than the 1 images", root=str(one), test=1)
    for row in range(9):
        Image.fromarray(noise(1)[0]).save(one / "ant" / f"more{row}.png")
    refused(r"datasets\.mine has one class \(ant\); two are needed", root=str(one), test=3, val=3)
    (tmp_path / "empty").mkdir()
    refused("has no folders; it must hold one folder of images per class", root=str(tmp_path / "empty"), test=1)


def test_links_are_followed_inside_the_folder_only(two, tmp_path):
    inside, outside = two / "train" / "ant" / "link.png", two / "test" / "ant" / "link.png"
    inside.symlink_to(two / "train" / "ant" / "00.png")
    assert len(together(prepare(tmp_path, **both(two)), "paths")) == 61
    Image.fromarray(noise(1)[0]).save(tmp_path / "secret.png")
    outside.symlink_to(tmp_path / "secret.png")
    with pytest.raises(InputError, match=r"link\.png is a link out of .*images"):
        prepare(tmp_path, **both(two))
    outside.unlink()
    (two / "test" / "cat").symlink_to(two / "train" / "ant")
    with pytest.raises(InputError, match="cat is a link to a folder"):
        prepare(tmp_path, **both(two))
    (two / "test" / "cat").unlink()
    outside.symlink_to(outside)
    with pytest.raises(InputError, match="is a link that leads nowhere"):
        prepare(tmp_path, **both(two))
    outside.unlink()
    (two / "test").rename(tmp_path / "elsewhere")
    (two / "test").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="test is a link to a folder"):
        prepare(tmp_path, **both(two))
