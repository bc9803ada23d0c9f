"""Where images come from: one module per source; `opened` gives the three splits of whichever is chosen."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from offramp.data.params import AnyDataset, AnyPictures, ClutteredDigits, Folder, Parquet, Torchvision
from offramp.data.prepared import Batch
from offramp.data.sources import cluttered_digits, folder, parquet, torchvision
from offramp.data.sources.pools import Pools
from offramp.data.sources.splitting import Opened, Rows, check_pools, deal, require_classes, split_pools

SPLITS = ("train", "val", "test")


@contextmanager
def opened(name: str, dataset: AnyDataset, seed: int, beside: Path) -> Iterator[Opened]:
    """Yield the splits of a data set, each in its seeded order; `beside` has room for its images while this lasts.

    Raises InputError for whatever `check` finds, and for images that do not make a data set.
    """
    if isinstance(dataset, ClutteredDigits):
        check(name, dataset, seed)
        rendered = {split: Rows(batches(dataset, split, seed), rows(dataset, split)) for split in SPLITS}
        yield Opened(cluttered_digits.CLASSES, rendered, [])
        return
    with split_pools(name, dataset, _pools(name, dataset), seed, beside) as found:
        yield found


def check(name: str, dataset: AnyDataset, seed: int) -> None:
    """Raise InputError when a class would be absent from train or val, without rendering or reading an image.

    Of a data set that would have to be downloaded, only the numbers of images are known.
    """
    match dataset:
        case ClutteredDigits():
            labels = {split: cluttered_digits.labels(split, rows(dataset, split), seed) for split in SPLITS}
            require_classes(name, dataset, labels, cluttered_digits.CLASSES, seed)
        case Torchvision():
            deal(name, dataset, *torchvision.N_IMAGES[dataset.dataset], seed)
        case _:
            check_pools(name, dataset, _pools(name, dataset), seed)


def batches(dataset: ClutteredDigits, split: str, seed: int) -> Iterator[Batch]:
    """Yield the rendered images of a split in their seeded order."""
    return cluttered_digits.render(split, rows(dataset, split), seed)


def rows(dataset: ClutteredDigits, split: str) -> int:
    counts: dict[str, int] = dataset.model_dump(include=set(SPLITS))
    return counts[split]


def _pools(name: str, dataset: AnyPictures) -> Pools:
    match dataset:
        case Folder():
            return folder.pools(name, dataset)
        case Parquet():
            return parquet.pools(name, dataset)
        case Torchvision():
            return torchvision.pools(dataset)
