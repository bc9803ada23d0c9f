"""Images of the benchmark, and the logits that the same engine gives them at the same batch size.

Live answers are compared with a replay of a logit cache: the main one where it was filled by this engine from these
very batches, else one that the benchmark fills for itself, the contract of `offramp.cache` kept.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from offramp.cache.reading import LogitCache, open_cache
from offramp.cache.writing import CacheWriter
from offramp.data.prepared import Images, Split, read_batches
from offramp.project.errors import InputError
from offramp.runtime.engines.pieces import Engine

Logits = NDArray[np.floating]  # (samples, exits, classes)


@dataclass(frozen=True)
class Pictures:
    """Decoded images (samples, height, width, channels), their ids and labels (samples,): the first of a split."""

    split: Split
    sample: NDArray[np.int64]
    images: Images
    label: NDArray[np.int64]


def first_pictures(split: Split, samples: int) -> Pictures:
    """Return the first images of a split; all of them where it has fewer."""
    parts = []
    wanted = min(samples, split.rows)
    for part in read_batches(split, min(wanted, 1000)):
        parts.append(part)
        if sum(len(ids) for ids, _, _ in parts) >= wanted:
            break
    sample, images, label = (np.concatenate(columns)[:wanted] for columns in zip(*parts, strict=True))
    return Pictures(split, sample, images, label)


@dataclass(frozen=True)
class Caches:
    """The main cache of the test split, the folder for others, and the `model` and `model_sha256` that runs live."""

    main: LogitCache
    folder: Path
    model: dict[str, Any]

    def require_fit(self, exits: list[str]) -> None:
        """Raise InputError where the main cache has other exits or says that it is of another split or network."""
        if self.main.exits != exits:
            raise InputError(f"{self.main.path} has {len(self.main.exits)} exits, the policies are for {len(exits)}")
        told = {"split": "test", "model_sha256": self.model["model_sha256"]}
        for key, ours in told.items():
            theirs = self.main.metadata.get(key, ours)
            if theirs != ours:
                raise InputError(
                    f"{self.main.path} says {key} {theirs:.12}, and what would run live is {ours:.12}; "
                    "`dvc repro deployment/dvc.yaml:benchmark` makes them of one"
                )

    def of_main(self, pictures: Pictures) -> Logits:
        """Return the main cache's logits of these images."""
        return logits_of(self.main, pictures.sample)

    def same(self, engine: Engine, pictures: Pictures, batch_size: int) -> Logits:
        """Return the logits of these images, cached by this engine at this batch size.

        They are the main cache's if it says that it was filled so and its batches hold the same images; else those of
        `folder`/test_batch_N.parquet, which is then filled.
        """
        n = len(pictures.sample)
        if self._is_main(engine, batch_size) and (n % batch_size == 0 or n == self.main.n_rows):
            logits = self.of_main(pictures)
            if logits.dtype == np.float32:  # what an engine gives: nothing was rounded
                return logits
        path = self.folder / f"test_batch_{batch_size}.parquet"
        self._fill(path, engine, pictures, batch_size)
        return logits_of(open_cache(path), pictures.sample)

    def _is_main(self, engine: Engine, batch_size: int) -> bool:
        about = {"engine": engine.name, "batch_size": batch_size, "model_sha256": self.model["model_sha256"]}
        return about.items() <= self.main.metadata.items()

    def _fill(self, path: Path, engine: Engine, pictures: Pictures, batch_size: int) -> None:
        split, images = pictures.split, pictures.images
        starts = tqdm(range(0, len(images), batch_size), desc=path.stem, unit="batch", disable=None, leave=False)
        logits = np.concatenate([engine.exit_logits(images[start : start + batch_size]) for start in starts])
        metadata = {"split": "test", "dataset": split.dataset, "classes": split.classes, "exits": self.main.exits}
        metadata |= self.model | {"engine": engine.name, "batch_size": batch_size}
        with CacheWriter(path, logits.shape[1], logits.shape[2], "float32", metadata) as writer:
            writer.write(pictures.sample, pictures.label, logits)


def logits_of(cache: LogitCache, sample: NDArray[np.int64]) -> Logits:
    """Return the logits (samples, exits, classes) of these samples, in their order. InputError: one is not there."""
    order = np.argsort(sample)
    found = np.zeros(len(sample), np.bool_)
    logits: Logits | None = None
    for rows in cache.read():
        if logits is None:
            logits = np.empty((len(sample), *rows.logits.shape[1:]), rows.logits.dtype)
        place = order[np.searchsorted(sample, rows.sample, sorter=order).clip(max=len(sample) - 1)]
        wanted = sample[place] == rows.sample
        logits[place[wanted]] = rows.logits[wanted]
        found[place[wanted]] = True
    if logits is None or not found.all():
        raise InputError(
            f"{cache.path} has no sample {sample[~found][0]}, which the images have; `dvc repro logits` writes it again"
        )
    return logits
