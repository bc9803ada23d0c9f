"""Sections `data` and `datasets`: which images the network sees."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field

from offramp.project.sections import InputFile, PositiveInt, Section, kind, must_be, one_of

SOURCES = ("cluttered_digits", "torchvision", "folder", "parquet")

PublishedName = Literal["MNIST", "FashionMNIST", "CIFAR10", "CIFAR100", "SVHN", "STL10"]
PathName = Annotated[str, Field(min_length=1)]
Side = Annotated[int, Field(ge=1, le=4096)]


class Data(Section):
    """`data`: the data set in use."""

    name: str


class ClutteredDigits(Section):
    """The embedded data set: numbers of rendered images per split."""

    source: Annotated[Literal["cluttered_digits"], one_of(*SOURCES)]
    train: PositiveInt = 12000
    val: PositiveInt = 6000
    test: PositiveInt = 10000


class Pictures(Section):
    """What every source of image files has: what an image becomes, and which rows are for validation."""

    image_size: Side | None = None
    channels: Annotated[Literal[1, 3], must_be("3 (RGB) or 1 (grey)")] = 3
    val: PositiveInt = 5000
    val_from: Literal["train", "test"] = "train"


class Torchvision(Pictures):
    """A data set that torchvision offers, downloaded once; see `offramp.data.sources.torchvision`."""

    source: Annotated[Literal["torchvision"], one_of(*SOURCES)]
    dataset: PublishedName
    root: PathName = "~/.cache/offramp"


class Folder(Pictures):
    """Image files in one folder per class; see `offramp.data.sources.folder`."""

    source: Annotated[Literal["folder"], one_of(*SOURCES)]
    root: Annotated[PathName, InputFile(file=False, folder=True)]
    test: PositiveInt | None = None


class Parquet(Pictures):
    """Tables with columns `image` and `label`; see `offramp.data.sources.parquet`."""

    source: Annotated[Literal["parquet"], one_of(*SOURCES)]
    train: Annotated[PathName, InputFile(folder=True)]
    test: Annotated[PathName, InputFile(folder=True)]


AnyPictures = Torchvision | Folder | Parquet
AnyDataset = ClutteredDigits | AnyPictures
_KINDS: dict[Any, str] = {"torchvision": "Torchvision", "folder": "Folder", "parquet": "Parquet"}


def _kind(value: Any) -> str:
    """Return which source a mapping is meant to be; `cluttered_digits` where it is none, so that it is told."""
    if isinstance(value, AnyDataset):
        return f"<{type(value).__name__}>"
    source = value.get("source") if isinstance(value, dict) else None
    return f"<{_KINDS.get(source, 'ClutteredDigits') if isinstance(source, str) else 'ClutteredDigits'}>"


Dataset = Annotated[
    Annotated[ClutteredDigits, kind("ClutteredDigits")]
    | Annotated[Torchvision, kind("Torchvision")]
    | Annotated[Folder, kind("Folder")]
    | Annotated[Parquet, kind("Parquet")],
    Discriminator(_kind),
]
Datasets = Annotated[dict[str, Dataset], Field(min_length=1)]
