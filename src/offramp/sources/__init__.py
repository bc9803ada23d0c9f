"""Where images come from: one module per source, all of which yield `offramp.prepared.Batch` per split."""

from collections.abc import Iterator

import numpy as np

from offramp.errors import InputError
from offramp.params.data import ClutteredDigits
from offramp.prepared import Batch
from offramp.sources import cluttered_digits

SPLITS = ("train", "val", "test")


def batches(dataset: ClutteredDigits, split: str, seed: int) -> Iterator[Batch]:
    """Yield the images of a split in their seeded order."""
    return cluttered_digits.render(split, rows(dataset, split), seed)


def rows(dataset: ClutteredDigits, split: str) -> int:
    counts: dict[str, int] = dataset.model_dump(include=set(SPLITS))
    return counts[split]


def classes(dataset: ClutteredDigits) -> list[str]:  # noqa: ARG001 (a source of files will look there)
    return cluttered_digits.CLASSES


def check(name: str, dataset: ClutteredDigits, seed: int) -> None:
    """Raise InputError when a class would be absent from train or val, without rendering anything."""
    for split in ("train", "val"):
        labels = cluttered_digits.labels(split, rows(dataset, split), seed)
        absent = [label for number, label in enumerate(classes(dataset)) if not np.any(labels == number)]
        if absent:
            raise InputError(
                f"datasets.{name}.{split} is {len(labels)}: with seed {seed} no sample of class "
                f"{', '.join(absent)} is among them; every class must be in train and val, so take more"
            )
