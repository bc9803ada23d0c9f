import pickle
import subprocess
import sys
from typing import get_args

import numpy as np
import pytest
from cases.preparing import dataset
from cases.published import drawn, md5, publish, serving, tar

from offramp.data import pictures, sources
from offramp.data.params import PublishedName
from offramp.data.sources.splitting import split_pools
from offramp.data.sources.torchvision import pools
from offramp.project.errors import InputError
from offramp.project.torchvision_import import torchvision

NAMES = get_args(PublishedName)
FASHION = [
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
]  # fmt: skip
BATCHES = "cifar-10-batches-py"


def chosen(name, root, **more):
    return dataset(source="torchvision", dataset=name, root=str(root), val=20, val_from="test", **more)


def folder_of(name, root):
    return root / name / "raw" if "MNIST" in name else root / name


def place(name, root, files):
    """Put published files where a download would; return that folder."""
    folder = folder_of(name, root)
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        (folder / file).write_bytes(content)
    return folder


def require_as_drawn(name, found):
    for split, (images, labels) in drawn(name).items():
        pool = getattr(found, split)
        assert np.array_equal(pool.labels, labels)
        assert np.array_equal([item.content for item in pool.items()], images)


@pytest.mark.parametrize("name", NAMES)
def test_every_data_set_is_downloaded_once_and_read_as_published(tmp_path, monkeypatch, name):
    with serving() as (address, contents, asked):
        files, _ = publish(monkeypatch, name, address)
        contents |= files
        found = pools(chosen(name, tmp_path))
        n_asked = len(asked)
        pools(chosen(name, tmp_path))
    assert set(files) == set(asked) - {f"absent/{file}" for file in files}
    assert len(asked) == n_asked  # the second time nothing is downloaded
    require_as_drawn(name, found)
    digits = [str(digit) for digit in range(10)]
    invented = [f"class_{k}" for k in range(100 if name == "CIFAR100" else 10)]
    assert found.classes == {"MNIST": digits, "SVHN": digits, "FashionMNIST": FASHION}.get(name, invented)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", NAMES)
def test_files_put_there_by_hand_need_no_network(tmp_path, monkeypatch, name):
    files, _ = publish(monkeypatch, name)
    place(name, tmp_path, files)
    require_as_drawn(name, pools(chosen(name, tmp_path)))


def test_images_of_a_data_set_are_dealt_and_kept_without_a_loss(tmp_path, monkeypatch):
    data = chosen("MNIST", tmp_path, channels=1)
    files, _ = publish(monkeypatch, "MNIST")
    place("MNIST", tmp_path, files)
    images, labels = drawn("MNIST")["test"]
    order = np.random.default_rng([3, 1]).permutation(30)
    with split_pools("mine", data, pools(data), 3, tmp_path / "out") as source:
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


@pytest.mark.parametrize("name", NAMES)
def test_offline_every_missing_file_and_its_place_are_named(tmp_path, monkeypatch, name):
    files, _ = publish(monkeypatch, name)
    present = dict(list(files.items())[1:])
    place(name, tmp_path, present)
    with pytest.raises(InputError) as raised:
        pools(chosen(name, tmp_path))
    message = str(raised.value)
    assert "\n" not in message
    for file, content in files.items():
        wanted = f"/{file} (MD5 {md5(content)}) at {folder_of(name, tmp_path) / file}"
        assert (wanted in message) == (file not in present)
    for part in ("http://127.0.0.1:9/", "refused", "by hand", "cluttered_digits"):
        assert part in message


@pytest.mark.parametrize("name", NAMES)
def test_a_download_that_is_not_the_published_file_is_refused(tmp_path, monkeypatch, name):
    with serving() as (address, contents, _):
        files, _ = publish(monkeypatch, name, address)
        contents |= {file: content[:-1] for file, content in files.items()}
        with pytest.raises(InputError, match=r"could not be downloaded or read: .*corrupted.*put http.* by hand"):
            pools(chosen(name, tmp_path))
        contents |= files
        require_as_drawn(name, pools(chosen(name, tmp_path)))


class Planted:
    """Unpickling this leaves a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_nothing_is_unpickled_whose_digest_differs(tmp_path, monkeypatch):
    _, members = publish(monkeypatch, "CIFAR10")
    planted = pickle.dumps(Planted(tmp_path / "unpickled"))
    for name in members:  # extracted, and altered since; no archive is there to extract again
        place("CIFAR10", tmp_path / name, {})
        folder = tmp_path / name / "CIFAR10" / BATCHES
        folder.mkdir()
        for member, content in members.items():
            (folder / member).write_bytes(planted if member == name else content)
        with pytest.raises(InputError, match=r"CIFAR10 could not be downloaded or read: .*put http.* by hand"):
            pools(chosen("CIFAR10", tmp_path / name))
    other = tar({f"{BATCHES}/{name}": planted for name in members})
    place("CIFAR10", tmp_path / "archive", {"cifar-10-python.tar.gz": other})
    with pytest.raises(InputError, match="by hand"):
        pools(chosen("CIFAR10", tmp_path / "archive"))
    assert not (tmp_path / "archive" / "CIFAR10" / BATCHES).exists()  # nor is it extracted
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "CIFAR10", "CIFAR100", "STL10"])
def test_an_extracted_file_that_was_altered_is_extracted_again(tmp_path, monkeypatch, name):
    files, _ = publish(monkeypatch, name)
    folder = place(name, tmp_path, files)
    pools(chosen(name, tmp_path))
    extracted = [path for path in folder.rglob("*") if path.is_file() and path.name not in files]
    altered = [path for path in extracted if path.name not in ("batches.meta", "meta", "class_names.txt")]
    assert len(altered) >= 2
    for path in altered:
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    require_as_drawn(name, pools(chosen(name, tmp_path)))


def test_extracted_files_that_cannot_be_verified_are_not_read(tmp_path, monkeypatch):
    files, _ = publish(monkeypatch, "MNIST")
    folder = place("MNIST", tmp_path, files)
    pools(chosen("MNIST", tmp_path))
    for file in files:
        (folder / file).unlink()
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte\.gz \(MD5 .*\) at .* by hand"):
        pools(chosen("MNIST", tmp_path))
    (folder.parent / "processed").mkdir()
    with pytest.raises(InputError, match="processed is of an old torchvision and cannot be verified; remove it"):
        pools(chosen("MNIST", tmp_path))


def test_altered_class_names_are_refused_and_missing_ones_told(tmp_path, monkeypatch):
    for name, names, message in (
        ("CIFAR10", "batches.meta", r"metadata file not found or corrupted.*remove what is extracted in .*CIFAR10"),
        ("STL10", "class_names.txt", "STL10 names no classes; remove what is extracted there"),
    ):
        files, _ = publish(monkeypatch, name)
        folder = place(name, tmp_path, files)
        pools(chosen(name, tmp_path))
        next(folder.rglob(names)).unlink()
        with pytest.raises(InputError, match=message):
            pools(chosen(name, tmp_path))


def test_another_number_of_images_than_published_is_refused(tmp_path, monkeypatch):
    files, _ = publish(monkeypatch, "SVHN")
    place("SVHN", tmp_path, files)
    monkeypatch.setitem(sources.torchvision.N_IMAGES, "SVHN", (60, 31))
    with pytest.raises(InputError, match=r"test of .*SVHN has 30 images; SVHN has 31 there"):
        pools(chosen("SVHN", tmp_path))


def test_parameters_name_classes_of_torchvision_with_a_digest_for_every_file():
    assert set(sources.torchvision.N_IMAGES) == set(NAMES)
    for name in NAMES:
        kind = getattr(torchvision().datasets, name)
        if name == "SVHN":
            digests = [digest for _, _, digest in kind.split_list.values()]
        elif "MNIST" in name:
            digests = [digest for _, digest in kind.resources]
        else:
            digests = [kind.tgz_md5, *(digest for _, digest in kind.train_list + kind.test_list)]
        assert all(len(bytes.fromhex(digest)) == 16 for digest in digests)


def test_importing_the_sources_imports_neither_torch_nor_torchvision(tmp_path):
    heavy = "{'torch', 'torchvision', 'scipy', 'sklearn'}"
    code = f"import offramp.data.sources, sys; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode == 0
