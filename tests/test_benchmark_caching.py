"""Which logits live answers are held against: the main cache's only where it was filled from the very same batches."""

import numpy as np
import pytest

from offramp.cache.reading import open_cache
from offramp.cache.writing import CacheWriter, write_logits
from offramp.data.prepared import Batch, read_split, write_split
from offramp.project.errors import InputError
from offramp.runtime.benchmark.caching import Caches, first_pictures, logits_of

N, BATCH_SIZE = 50, 8
EXITS, CLASSES = ["exit_1", "exit_2"], ["even", "odd"]
MODEL = {"model": "tiny", "model_sha256": "0" * 64}


class LastBits:
    """An engine whose logits depend, as a convolution's last bits do, on how many images come together."""

    name = "last_bits"

    def exit_logits(self, images):
        values = images.reshape(len(images), -1).mean(axis=1) + 1e-3 * len(images)
        return np.stack([np.stack([values, -values], axis=1)] * 2, axis=1).astype(np.float32)


ENGINE = LastBits()


def in_batches(images, batch_size):
    return np.concatenate([ENGINE.exit_logits(images[i : i + batch_size]) for i in range(0, len(images), batch_size)])


def images():
    return np.arange(N, dtype=np.uint8).reshape(N, 1, 1, 1).repeat(3, axis=3)


@pytest.fixture
def split(tmp_path):
    return write_split(tmp_path / "images.parquet", [Batch(images(), np.arange(N) % 2)], "numbers", "test", CLASSES)


def caches(folder, dtype="float32", **told):
    """A main cache that was filled in batches of 8, and says so unless told otherwise."""
    metadata = {"split": "test", **MODEL, "engine": ENGINE.name, "batch_size": BATCH_SIZE, **told}
    with CacheWriter(folder / "main.parquet", 2, 2, dtype, metadata) as writer:
        writer.write(np.arange(N), np.arange(N) % 2, in_batches(images(), BATCH_SIZE))
    return Caches(open_cache(folder / "main.parquet"), folder / "own", MODEL)


@pytest.mark.parametrize("samples", [5 * BATCH_SIZE, N])
def test_the_main_cache_serves_where_it_was_filled_from_the_same_batches(split, tmp_path, samples):
    logits = caches(tmp_path).same(ENGINE, first_pictures(split, samples), BATCH_SIZE)
    assert logits.tolist() == in_batches(images()[:samples], BATCH_SIZE).tolist()
    assert not (tmp_path / "own").exists()


@pytest.mark.parametrize(
    ("samples", "batch_size", "told"),
    [
        (40, 16, {}),
        (45, BATCH_SIZE, {}),  # there the last batch held three more
        (40, BATCH_SIZE, {"engine": "onnx"}),
        (40, BATCH_SIZE, {"dtype": "float16"}),  # rounded
        (40, BATCH_SIZE, {"model_sha256": "1" * 64}),
    ],
)
def test_where_it_was_not_the_benchmark_fills_its_own(split, tmp_path, samples, batch_size, told):
    logits = caches(tmp_path, **told).same(ENGINE, first_pictures(split, samples), batch_size)
    assert logits.tolist() == in_batches(images()[:samples], batch_size).tolist()
    own = open_cache(tmp_path / f"own/test_batch_{batch_size}.parquet")
    about = {"split": "test", "dataset": "numbers", "classes": CLASSES, "exits": EXITS, **MODEL}
    assert (about | {"engine": ENGINE.name, "batch_size": batch_size}).items() <= own.metadata.items()
    assert own.n_rows == samples


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"split": "val"}, r"says split val, and what would run live is test"),
        ({"model_sha256": "1" * 64}, r"says model_sha256 111111111111, and what would run live is 000000000000"),
    ],
)
def test_a_main_cache_of_something_else_is_refused(tmp_path, told, message):
    with pytest.raises(InputError, match=message):
        caches(tmp_path, **told).require_fit(EXITS)


def test_a_main_cache_of_other_exits_is_refused(tmp_path):
    with pytest.raises(InputError, match="has 2 exits, the policies are for 3"):
        caches(tmp_path).require_fit([*EXITS, "exit_3"])


def test_a_main_cache_that_says_nothing_of_itself_is_believed(tmp_path):
    write_logits(tmp_path / "main.parquet", in_batches(images(), BATCH_SIZE), np.arange(N) % 2)
    Caches(open_cache(tmp_path / "main.parquet"), tmp_path, MODEL).require_fit(EXITS)


def test_logits_are_found_by_sample_and_a_missing_one_is_named(tmp_path, rng):
    logits = rng.normal(size=(6, 2, 3)).astype(np.float32)
    write_logits(tmp_path / "t.parquet", logits, [None] * 6, samples=[5, 9, 1, 7, 3, 8])
    cache = open_cache(tmp_path / "t.parquet")
    assert logits_of(cache, np.array([1, 8, 5])).tolist() == logits[[2, 5, 0]].tolist()
    with pytest.raises(InputError, match="has no sample 4"):
        logits_of(cache, np.array([1, 4]))


def test_the_first_images_are_the_first_rows_and_all_of_them_where_there_are_fewer(split):
    assert first_pictures(split, 7).images.tolist() == images()[:7].tolist()
    assert first_pictures(split, 7).sample.tolist() == list(range(7))
    assert first_pictures(read_split(split.path), 10 * N).label.tolist() == (np.arange(N) % 2).tolist()


def test_images_are_counted_one_by_one_also_where_they_are_read_by_the_thousand(tmp_path):
    labels = np.arange(1100) % 2
    many = write_split(
        tmp_path / "many.parquet", [Batch(np.zeros((1100, 1, 1, 3), np.uint8), labels)], "", "test", CLASSES
    )
    assert first_pictures(many, 1050).sample.tolist() == list(range(1050))
