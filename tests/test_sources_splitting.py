"""The order on disk against an order in memory, and what a row costs there."""

import tracemalloc

import numpy as np
import pytest
from cases.preparing import noise

from offramp.data import pictures
from offramp.data.params import Folder
from offramp.data.sources import spool as spooling
from offramp.data.sources.pools import Item, Pool, Pools
from offramp.data.sources.splitting import split_pools
from offramp.project.errors import InputError

FOLDER = Folder(source="folder", root="/nowhere", val=300, test=500)


def pools(n, side=6, names=None):
    images = noise(n, side=side)
    items = [Item(pixels, names and names[row]) for row, pixels in enumerate(images)]
    return images, Pools(["ant", "bee"], Pool("all", np.arange(n) % 2, lambda: iter(items)), None)


@pytest.mark.parametrize("largest_batch", [2**26, 1500])
def test_the_order_on_disk_is_that_of_a_permutation_in_memory(tmp_path, monkeypatch, largest_batch):
    monkeypatch.setattr(spooling, "LARGEST_BATCH", largest_batch)
    names = [f"{row}é" if row % 3 else None for row in range(2500)]
    images, source = pools(2500, names=names)
    order = np.random.default_rng([17, 0]).permutation(2500)
    expected = {"test": order[:500], "val": order[500:800], "train": order[800:]}
    with split_pools("mine", FOLDER, source, 17, tmp_path) as found:
        for split, rows in found.splits.items():
            parts = list(rows.batches)
            contents = [content for part in parts for content in part.contents]
            size = pictures.Size(6, 6)
            assert np.array_equal([pictures.decode(content, 3, size) for content in contents], images[expected[split]])
            assert np.array_equal(np.concatenate([part.labels for part in parts]), expected[split] % 2)
            assert [path for part in parts for path in part.paths] == [names[row] for row in expected[split]]
            assert all(len(part.contents) < 20 for part in parts) or largest_batch > 1500
    assert list(tmp_path.iterdir()) == []


def test_more_or_fewer_images_than_labels_are_refused_and_nothing_is_left(tmp_path):
    _, source = pools(1000)
    for n in (999, 1001):
        short = Pool("some file", np.arange(n) % 2, source.train.items)
        with pytest.raises(InputError, match=f"some file holds 1000 images and {n} labels"):  # noqa: SIM117
            with split_pools("mine", FOLDER, Pools(["ant", "bee"], short, None), 17, tmp_path):
                pass
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_hold_the_images(tmp_path):
    pixels = noise(1, side=32)[0]  # 3 kB, as PNG too
    held = []
    for n in (900, 1800):
        items = lambda n=n: (Item(pixels) for _ in range(n))  # noqa: E731
        tracemalloc.start()
        with split_pools("mine", FOLDER, Pools(["ant", "bee"], Pool("x", np.arange(n) % 2, items), None), 17, tmp_path):
            held.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert held[1] - held[0] < 900 * 200
