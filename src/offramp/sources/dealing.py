"""Which rows of a source become train, val and test: seeded permutations, so that no split is ordered by class."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offramp.errors import InputError
from offramp.params.data import AnyDataset, AnyPictures, ClutteredDigits, Folder
from offramp.sources.pools import Labels, Pools

Rows = NDArray[np.int64]
PURPOSES = {"train": 0, "test": 1}  # a generator each, so that one pool's size does not change the other's order


class Dealt(NamedTuple):
    """A split: the pool that it is taken from (`train` or `test`) and its rows there, in the split's order."""

    pool: str
    rows: Rows


def deal(name: str, dataset: AnyPictures, n_train: int, n_test: int | None, seed: int) -> dict[str, Dealt]:
    """Deal pools of `n_train` and `n_test` images to the three splits; every image is in one of them.

    Without a test pool (`n_test` None), `dataset.test` images of the training pool are the test split. Then
    `dataset.val` images move to val from the side that `dataset.val_from` names. Raises InputError where a side would
    keep none.
    """
    train = Dealt("train", _permutation(n_train, "train", seed))
    if n_test is not None:
        test = Dealt("test", _permutation(n_test, "test", seed))
    else:
        assert isinstance(dataset, Folder) and dataset.test is not None, "only a folder may be one pool"
        wanted = dataset.test
        _require_fewer(f"datasets.{name}.test", wanted, n_train, "images there are")
        train, test = Dealt("train", train.rows[wanted:]), Dealt("train", train.rows[:wanted])
    taken = train if dataset.val_from == "train" else test
    _require_fewer(f"datasets.{name}.val", dataset.val, len(taken.rows), f"{dataset.val_from} images it is taken from")
    val, kept = Dealt(taken.pool, taken.rows[: dataset.val]), Dealt(taken.pool, taken.rows[dataset.val :])
    if dataset.val_from == "train":
        return {"train": kept, "val": val, "test": test}
    return {"train": train, "val": val, "test": kept}


def labels_of(dealt: Mapping[str, Dealt], pools: Pools) -> dict[str, Labels]:
    """Return the labels of every split (n,), in its order."""
    known = {"train": pools.train.labels}
    if pools.test is not None:
        known["test"] = pools.test.labels
    return {split: known[part.pool][part.rows] for split, part in dealt.items()}


def require_classes(
    name: str, dataset: AnyDataset, labels: Mapping[str, Labels], classes: list[str], seed: int, left: str = ""
) -> None:
    """Raise InputError where train or val lacks a class, or test has no row; `left` says why rows are missing."""
    if len(classes) < 2:
        raise InputError(
            f"datasets.{name} has one class ({', '.join(classes)}); two are needed to tell one from another"
        )
    for split in ("train", "val"):
        n = len(labels[split])
        absent = np.flatnonzero(np.bincount(labels[split], minlength=len(classes)) == 0)
        if len(absent):
            named = ", ".join(classes[number] for number in absent[:10]) + ", …" * (len(absent) > 10)
            keyed = split == "val" or isinstance(dataset, ClutteredDigits)
            what = f"datasets.{name}.{split} is {n}" if keyed else f"datasets.{name} leaves {n} rows for train"
            raise InputError(
                f"{what}: with seed {seed} no sample of class {named} is among them{left}; every class must be in "
                f"train and val, so take {'more' if keyed else 'fewer for val'}"
            )
    if not len(labels["test"]):
        raise InputError(f"datasets.{name} has no row for test{left}")


def _require_fewer(key: str, wanted: int, there_are: int, what: str) -> None:
    if wanted >= there_are:
        raise InputError(f"{key} must be smaller than the {there_are} {what}; got {wanted}")


def _permutation(n: int, purpose: str, seed: int) -> Rows:
    return np.random.default_rng([seed, PURPOSES[purpose]]).permutation(n)
