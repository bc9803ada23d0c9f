import gzip
import struct
import subprocess
import sys
import threading

import numpy as np
import pytest

from offramp import pictures, sources
from offramp.errors import InputError
from offramp.params.data import TORCHVISION
from offramp.sources.downloads import fetch
from offramp.sources.published import PUBLISHED
from offramp.sources.splitting import split_pools
from offramp.sources.torchvision import FASHION, pools
from preparing import dataset
from published_cases import drawn, files, serving, table, tar


def chosen(name, root, **more):
    return dataset(source="torchvision", dataset=name, root=str(root), val=20, val_from="test", **more)


def placed(name, root, contents):
    """Put published files where a download would, and return their table; its address answers nothing."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in contents.items():
        (folder / file).write_bytes(content)
    return table(name, contents, "http://127.0.0.1:9")


@pytest.mark.parametrize("name", TORCHVISION)
def test_every_data_set_is_downloaded_and_read_as_published(tmp_path, name):
    contents = files(name)
    with serving(contents) as (address, asked):
        published = table(name, contents, f"{address}/absent", address)
        found = pools(chosen(name, tmp_path / "cache"), published)
        pools(chosen(name, tmp_path / "cache"), published)
    assert len(asked) == 2 * len(contents)  # once from the address that has none; the second time nothing is fetched
    for split, (images, labels) in drawn(name).items():
        pool = getattr(found, split)
        assert np.array_equal(pool.labels, labels)
        assert np.array_equal([item.content for item in pool.items()], images)
    digits = [str(digit) for digit in range(10)]
    invented = [f"class_{k}" for k in range(100 if name == "CIFAR100" else 10)]
    assert found.classes == {"MNIST": digits, "SVHN": digits, "FashionMNIST": FASHION}.get(name, invented)


def test_images_of_a_data_set_are_dealt_and_kept_without_a_loss(tmp_path):
    data = chosen("MNIST", tmp_path, channels=1)
    found = pools(data, placed("MNIST", tmp_path, files("MNIST")))
    images, labels = drawn("MNIST")["test"]
    order = np.random.default_rng([3, 1]).permutation(30)
    with split_pools("mine", data, found, 3, tmp_path / "out") as source:
        for split, rows in (("val", order[:20]), ("test", order[20:])):
            (batch,) = source.splits[split].batches
            assert source.splits[split].about == {"val_from": "test"}
            assert batch.image_shape == (1, 9, 9)
            decoded = [pictures.decode(content, 1, pictures.Size(9, 9))[..., 0] for content in batch.contents]
            assert np.array_equal(decoded, images[rows])
            assert np.array_equal(batch.labels, labels[rows])


def test_parameters_are_checked_without_a_download(tmp_path):
    sources.check("mine", chosen("MNIST", tmp_path), 17)
    wrong = chosen("SVHN", tmp_path).model_copy(update={"val": 26032})
    with pytest.raises(InputError, match=r"datasets\.mine\.val must be smaller than the 26032 test images"):
        sources.check("mine", wrong, 17)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def one():
    """Return a file to download, its content, and a table's entry without addresses."""
    content = np.random.default_rng(1).bytes(100_000)
    published = table("SVHN", {"train_32x32.mat": content, "test_32x32.mat": b""})["SVHN"].files["train"]
    return published.name, content, published


def at(published, *addresses):
    return type(published)(published.name, published.md5, tuple(f"{address}/{published.name}" for address in addresses))


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_goes_on_where_it_was_broken_off(tmp_path, one, ranges):
    name, content, published = one
    (tmp_path / f"{name}.part").write_bytes(content[:60_000])
    with serving({name: content}, ranges) as (address, asked):
        path = fetch(at(published, address), tmp_path)
    assert asked == ["bytes=60000-"]
    assert path.read_bytes() == content
    assert sorted(file.name for file in tmp_path.iterdir()) == [f".{name}.lock", name]


def test_broken_connections_are_taken_up_again_while_something_comes(tmp_path, one):
    name, content, published = one
    with serving({name: content}, cut=30_000) as (address, asked):
        assert fetch(at(published, address), tmp_path).read_bytes() == content
    assert asked == [None, "bytes=30000-", "bytes=60000-", "bytes=90000-"]
    with serving({name: content}, cut=0) as (address, asked), pytest.raises(InputError, match="broken off after 0 of"):
        fetch(at(published, address), tmp_path / "other")
    assert len(asked) == 3


def test_a_wrong_digest_is_told_and_only_the_download_is_removed(tmp_path, one):
    name, content, published = one
    with serving({name: content[1:]}) as (address, _):
        with pytest.raises(
            InputError, match=rf"what came has the MD5 .*removed.*MD5 {published.md5}, at .*{name} by hand"
        ):
            fetch(at(published, address), tmp_path)
        (tmp_path / name).write_bytes(b"by hand")
        with pytest.raises(
            InputError, match=rf"{name} is not the published file: its MD5 is .*{published.md5}; remove it"
        ):
            fetch(at(published, address), tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [f".{name}.lock", name]
    assert (tmp_path / name).read_bytes() == b"by hand"


def test_a_part_that_is_whole_needs_no_server_and_one_that_is_longer_is_begun_again(tmp_path, one):
    name, content, published = one
    (tmp_path / f"{name}.part").write_bytes(content)
    fetch(published, tmp_path).unlink()
    (tmp_path / f"{name}.part").write_bytes(content + b"more")
    with serving({name: content}) as (address, _):
        assert fetch(at(published, address), tmp_path).read_bytes() == content


def test_offline_the_file_and_its_place_are_named(tmp_path, one):
    name, _, published = one
    with pytest.raises(InputError) as raised:
        fetch(at(published, "http://127.0.0.1:9"), tmp_path / "cache")
    message = str(raised.value)
    assert "\n" not in message
    for part in (
        f"http://127.0.0.1:9/{name}",
        "refused",
        str(tmp_path / "cache" / name),
        published.md5,
        "cluttered_digits",
    ):
        assert part in message
    assert [file.name for file in (tmp_path / "cache").iterdir()] == [f".{name}.lock"]


def test_two_downloads_at_once_share_one_file(tmp_path, one):
    name, content, published = one
    with serving({name: content}) as (address, asked):
        threads = [threading.Thread(target=fetch, args=(at(published, address), tmp_path)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert asked == [None]
    assert (tmp_path / name).read_bytes() == content


def idx(header, content):
    return gzip.compress(struct.pack(">" + "I" * len(header), *header) + content)


@pytest.mark.parametrize(
    ("role", "content", "message"),
    [
        ("train-images-idx3", idx((0x803, 60, 9, 9), bytes(59 * 81)), "says that it holds 60 items and holds 59"),
        ("train-images-idx3", idx((0x803, 60, 9, 9), bytes(61 * 81)), "says that it holds 60 items and holds 61"),
        ("train-images-idx3", idx((0x803, 60, 9, 9), bytes(60 * 81 - 1)), "is no multiple of 81 bytes"),
        ("train-images-idx3", idx((0x803, 60, 2**31, 2**31), b""), "sides are from 1 to 4096"),
        ("train-images-idx3", idx((0x803, 60, 9, 9), bytes(60 * 81))[:-20], "cannot be read"),
        ("train-labels-idx1", idx((0x801, 2**32 - 1), bytes(60)), "says that it holds 4294967295 items and holds 60"),
        ("train-labels-idx1", idx((0x803, 60), bytes(60)), "is no idx1 file"),
        ("train-labels-idx1", idx((0x801, 60), bytes([10] * 60)), "the label of row 0 is 10; with 10 classes"),
        ("train-labels-idx1", b"no gzip", "cannot be read"),
    ],
)
def test_what_a_header_says_is_compared_with_what_follows(tmp_path, role, content, message):
    contents = files("MNIST") | {f"{role}-ubyte.gz": content}
    published = placed("MNIST", tmp_path, contents)
    with pytest.raises(InputError, match=message):
        list(pools(chosen("MNIST", tmp_path), published).train.items())


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (tar([("x/data_batch_1.bin", bytes(3072))]), "data_batch_1.bin: its size is no multiple of 3073 bytes"),
        (tar([("x/data_batch_1.bin", bytes(3073))]), "does not hold data_batch_2.bin, .*test_batch.bin"),
        (files("CIFAR10")["cifar-10-binary.tar.gz"][:-2000], "cannot be read"),
        (b"no archive", "cannot be read"),
    ],
)
def test_another_or_damaged_archive_is_refused(tmp_path, archive, message):
    published = placed("CIFAR10", tmp_path, {"cifar-10-binary.tar.gz": archive})
    with pytest.raises(InputError, match=message):
        pools(chosen("CIFAR10", tmp_path), published)


def test_members_are_never_written_to_disk(tmp_path):
    outside = [("../../escaped.bin", b"x"), ("/escaped.bin", b"x")]
    contents = {"stl10_binary.tar.gz": tar(outside)}
    with pytest.raises(InputError, match=r"does not hold test_y\.bin, train_y\.bin"):
        pools(chosen("STL10", tmp_path / "a" / "b"), placed("STL10", tmp_path / "a" / "b", contents))
    assert [path.name for path in tmp_path.rglob("escaped*")] == []


def test_the_published_table_is_whole():
    assert set(PUBLISHED) == set(TORCHVISION)
    for published in PUBLISHED.values():
        for file in published.files.values():
            assert len(bytes.fromhex(file.md5)) == 16
            assert all(url.endswith(f"/{file.name}") for url in file.urls)


def test_neither_torch_nor_torchvision_is_imported(tmp_path):
    code = (
        "import offramp.sources, sys; sys.exit(bool({'torch', 'torchvision', 'scipy', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode == 0
