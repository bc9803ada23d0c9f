import numpy as np
import pyarrow.parquet as pq
import pytest

from offramp.data import sources
from offramp.data.params import ClutteredDigits
from offramp.data.prepared import difficulty_of, images_of, read_batches, read_split, write_split
from offramp.data.sources import cluttered_digits as digits
from offramp.project.errors import InputError


def drawn(split, count, seed=17):
    parts = list(digits.render(split, count, seed))
    return [np.concatenate(column) for column in zip(*((b.images, b.labels, b.difficulty) for b in parts), strict=True)]


def test_rendering_is_seeded_and_splits_differ():
    images, labels, difficulty = drawn("val", 600)
    again = drawn("val", 600)
    assert all(np.array_equal(a, b) for a, b in zip((images, labels, difficulty), again, strict=True))
    assert not np.array_equal(images, drawn("test", 600)[0])
    assert not np.array_equal(images, drawn("val", 600, seed=18)[0])
    assert images.shape == (600, 32, 32, 3)
    assert images.dtype == np.uint8


def test_labels_are_known_without_rendering():
    assert np.array_equal(digits.labels("test", 700, 17), drawn("test", 700)[1])


def test_train_shares_no_original_with_val_and_test():
    train, val = digits.split_originals("train", 17), digits.split_originals("val", 17)
    assert (len(train.digits), len(val.digits)) == (1000, 797)
    assert np.array_equal(val.glyphs, digits.split_originals("test", 17).glyphs)
    known = {glyph.tobytes() for glyph in train.glyphs}
    # Fewer than one in a hundred glyphs is the same drawing twice in the source itself.
    assert sum(glyph.tobytes() in known for glyph in val.glyphs) < 8


def test_difficulty_is_uniform_and_makes_images_noisier():
    images, _, difficulty = drawn("train", 3000)
    assert difficulty.min() >= 0
    assert difficulty.max() < 1
    assert np.histogram(difficulty, 4, (0, 1))[0] == pytest.approx([750] * 4, abs=120)
    edge = images.astype(float)
    roughness = np.abs(np.diff(edge, axis=2)).mean(axis=(1, 2, 3))
    assert roughness[difficulty > 0.9].mean() > 3 * roughness[difficulty < 0.1].mean()


def test_prepared_rows_come_back_as_rendered(tmp_path):
    data = ClutteredDigits(source="cluttered_digits", train=20, val=20, test=730)
    batches = sources.batches(data, "test", 17)
    split = write_split(tmp_path / "test.parquet", batches, "cluttered_digits", "test", digits.CLASSES)
    images, labels, difficulty = drawn("test", 730)
    sample, read_images, read_labels = (np.concatenate(part) for part in zip(*read_batches(split, 64), strict=True))
    assert np.array_equal(read_images, images)
    assert np.array_equal(read_labels, labels)
    assert sample.tolist() == list(range(730))
    some = np.array([729, 3, 500])
    assert np.array_equal(difficulty_of(split, some), difficulty[some])
    assert np.array_equal(images_of(split, some), images[some])
    assert split.classes == [str(k) for k in range(10)]
    assert split.image_shape == (3, 32, 32)
    with pytest.raises(InputError, match="has no sample 730"):
        difficulty_of(split, np.array([730]))


def test_a_class_absent_from_val_is_named_before_anything_is_rendered():
    data = ClutteredDigits(source="cluttered_digits", train=1000, val=3, test=10)
    with pytest.raises(InputError, match=r"datasets.cluttered_digits.val is 3: with seed 17 no sample of class"):
        sources.check("cluttered_digits", data, 17)


def test_a_failed_split_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "val.parquet"
    path.write_text("precious")

    def broken():
        yield next(digits.render("val", 5, 1))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_split(path, broken(), "x", "val", digits.CLASSES)
    assert path.read_text() == "precious"
    assert [p.name for p in tmp_path.iterdir()] == ["val.parquet"]


def test_a_parquet_file_of_others_is_no_prepared_split(tmp_path):
    import pyarrow as pa

    pq.write_table(pa.table({"sample": [1]}), tmp_path / "val.parquet")
    with pytest.raises(InputError, match="lacks column 'image'"):
        read_split(tmp_path / "val.parquet")
