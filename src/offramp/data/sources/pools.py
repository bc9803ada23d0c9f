"""What a source of image files gives: pools of labelled images, their labels known before the first image is read."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.data.pictures import Pixels
from offramp.project.errors import InputError

Labels = NDArray[np.int64]
RowNumbers = NDArray[np.int64]  # of a pool


class Unreadable(NamedTuple):
    """In place of an image's content: why there is none."""

    reason: str


class Item(NamedTuple):
    """An image: an encoded file or pixels, and the file's relative name where it has one. That name is never opened."""

    content: bytes | Pixels | Unreadable
    path: str | None = None


@dataclass(frozen=True)
class Pool:
    """Images in the order of their source: `items()` yields as many as there are labels (n,).

    `name` stands in messages, as in `row 3 of NAME`.
    """

    name: str
    labels: Labels
    items: Callable[[], Iterator[Item]]


@dataclass(frozen=True)
class Pools:
    """A source: its classes, and its images for training and for testing; without `test` these are one pool."""

    classes: list[str]
    train: Pool
    test: Pool | None


def require_same_classes(train: Sequence[str], test: Sequence[str], train_name: str, test_name: str) -> None:
    """Raise InputError naming the classes that only one of train and test has, or where their order differs."""
    for these, others, here, there in ((train, test, train_name, test_name), (test, train, test_name, train_name)):
        only = [name for name in these if name not in set(others)]
        if only:
            more = f" and {len(only) - 10} more" if len(only) > 10 else ""
            raise InputError(
                f"{here} has classes that {there} lacks: {', '.join(only[:10])}{more}; both must have the same classes"
            )
    if list(train) != list(test):
        a, b = next((a, b) for a, b in itertools.zip_longest(train, test) if a != b)
        raise InputError(f"{train_name} and {test_name} number their classes differently: {a} here is {b} there")


def require_text(classes: Sequence[str], name: str) -> None:
    """Raise InputError naming the first class whose name is not Unicode text, which no file here could hold."""
    for label in classes:
        if any("\ud800" <= character <= "\udfff" for character in label):
            raise InputError(f"{name}: the class name {label!a} is not UTF-8; rename that class")


def require_in_range(labels: Labels, classes: Sequence[str], name: str) -> None:
    """Raise InputError naming the first label that is no number of a class."""
    wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(wrong):
        raise InputError(
            f"{name}: the label of row {wrong[0]} is {labels[wrong[0]]}; with {len(classes)} classes labels are 0 to "
            f"{len(classes) - 1}"
        )
