"""The data sets that torchvision offers and that are read here: where their files are published, and how many images.

Addresses and MD5 digests are those of torchvision 0.28 (`torchvision/datasets/*.py`), but for CIFAR, where the page of
its authors (https://www.cs.toronto.edu/~kriz/cifar.html) also publishes archives without pickles. The numbers of
images serve to check parameters before anything is downloaded.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedFile:
    """A file, its MD5 digest, and the addresses to try in turn, each the whole of it."""

    name: str
    md5: str
    urls: tuple[str, ...]


@dataclass(frozen=True)
class Published:
    """A data set: its format (see `offramp.sources.torchvision`), its files by their role, its numbers of images."""

    format: str
    files: dict[str, PublishedFile]
    n_train: int
    n_test: int


def _at(folders: tuple[str, ...], name: str, md5: str) -> PublishedFile:
    return PublishedFile(name, md5, tuple(folder + name for folder in folders))


def _idx(folders: tuple[str, ...], md5s: tuple[str, str, str, str]) -> Published:
    names = {
        "train_images": "train-images-idx3-ubyte.gz",
        "train_labels": "train-labels-idx1-ubyte.gz",
        "test_images": "t10k-images-idx3-ubyte.gz",
        "test_labels": "t10k-labels-idx1-ubyte.gz",
    }
    files = {role: _at(folders, name, md5) for (role, name), md5 in zip(names.items(), md5s, strict=True)}
    return Published("idx", files, 60000, 10000)


_MNIST = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/")
_FASHION = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",)
_CIFAR = ("https://www.cs.toronto.edu/~kriz/",)
_SVHN = ("http://ufldl.stanford.edu/housenumbers/",)
_STL10 = ("http://ai.stanford.edu/~acoates/stl10/",)

PUBLISHED = {
    "MNIST": _idx(
        _MNIST,
        (
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
    ),
    "FashionMNIST": _idx(
        _FASHION,
        (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
    "CIFAR10": Published(
        "cifar10",
        {"archive": _at(_CIFAR, "cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530")},
        50000,
        10000,
    ),
    "CIFAR100": Published(
        "cifar100",
        {"archive": _at(_CIFAR, "cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8")},
        50000,
        10000,
    ),
    "SVHN": Published(
        "svhn",
        {
            "train": _at(_SVHN, "train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373"),
            "test": _at(_SVHN, "test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3"),
        },
        73257,
        26032,
    ),
    "STL10": Published(
        "stl10",
        {"archive": _at(_STL10, "stl10_binary.tar.gz", "91f7769df0f17e558f3565bffb0c7dfb")},
        5000,
        8000,
    ),
}
