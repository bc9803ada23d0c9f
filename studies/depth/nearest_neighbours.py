"""Nearest-neighbour probes: what the training images most alike would answer after each segment of the network.

A probe holds the features of some training images after one segment. For a test image it finds those nearest to it,
in Euclidean distance, and answers with the label that most of them have: no training, and so no head, is needed to see
what a segment already tells apart. Each segment is run once per image.

Features are taken as the network hands them on, in float32 and not standardised, as in the paper: a scale that the next
segment sees belongs to them. Maps (samples, channels, height, width) are average-pooled to at most 4×4, coarser where
a picture would be more than FEATURES numbers; tokens (samples, tokens, channels) are averaged; vectors stay.

Reference: Baldock, Maennel & Neyshabur (NeurIPS 2021), Deep Learning Through the Lens of Example Difficulty, section 2
and appendix A (30 neighbours; they also probe the input and the softmax, and do not pool).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, one_hot
from tqdm import tqdm

from offramp.data.prepared import Split, read_batches
from offramp.networks.early_exit import EarlyExitNetwork, to_input
from offramp.project.errors import InputError
from studies.depth.probe_table import ProbeTable

BATCH = 64  # images per forward pass
SIDE = 4  # rows and columns that a feature map keeps at most
FEATURES = 4096  # numbers per image and segment: 4,000 training images of a 33-exit network then need 2 GiB
DISTANCES = 4_000_000  # that are in memory at once


@dataclass(frozen=True)
class Features:
    """Images as a probe sees them: per segment (samples, features), beside ids, labels and answers (samples,)."""

    segments: list[Tensor]
    sample: NDArray[np.int64]
    label: Tensor
    answer: NDArray[np.int64]


def probe(
    network: EarlyExitNetwork,
    train: Split,
    test: Split,
    device: torch.device,
    neighbours: int = 30,
    support: int = 4000,
    samples: int = 2000,
) -> ProbeTable:
    """Return every probe's answer for the first `samples` test images, from the first `support` training images.

    Both splits are in random order, so that the first ones are a random draw; all where a split has fewer. Raises
    InputError where there are fewer training images than `neighbours`, for splits of different classes and for a
    network whose features are no tensors.
    """
    available = min(support, train.rows)
    if available < neighbours:
        raise InputError(
            f"depth.neighbours is {neighbours}, and {train.path} has {train.rows} images to take them from; "
            "lower it in params.yaml"
        )
    if train.classes != test.classes:
        raise InputError(f"{train.path} and {test.path} have different classes; they are not of one data set")
    network.place(device).eval()
    known = features_of(network, train, support, device)
    asked = features_of(network, test, samples, device)
    pairs = zip(known.segments, asked.segments, strict=True)
    progress = tqdm(pairs, total=len(known.segments), desc="probes", unit="segment", disable=None, leave=False)
    votes = [vote(theirs, known.label, ours, neighbours, len(test.classes)).cpu().numpy() for theirs, ours in progress]
    return ProbeTable(asked.sample, asked.answer, np.stack(votes, axis=1), neighbours, available)


@torch.inference_mode()
def features_of(network: EarlyExitNetwork, split: Split, rows: int, device: torch.device) -> Features:
    """Return the features after every segment, and the last head's answer, of a split's first `rows` images."""
    parts: list[list[Tensor]] = [[] for _ in network.stages]
    about: list[tuple[NDArray[np.int64], ...]] = []
    for sample, images, label in _first(split, rows):
        features: Any = to_input(torch.from_numpy(images).to(device).permute(0, 3, 1, 2))
        for k, (segment, head) in enumerate(network.stages):
            features = segment(features)
            parts[k].append(flat(features, len(sample)))
            if k == len(network.stages) - 1:
                about.append((sample, label, head(features).argmax(dim=1).cpu().numpy()))
    ids, labels, answers = (np.concatenate(column) for column in zip(*about, strict=True))
    return Features([torch.cat(part) for part in parts], ids, torch.from_numpy(labels).to(device), answers)


def _first(split: Split, rows: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]]:
    left = min(rows, split.rows)
    with tqdm(total=left, desc=f"features {split.path.stem}", unit="image", disable=None, leave=False) as progress:
        for sample, images, label in read_batches(split, BATCH):
            taken = min(left, len(sample))
            yield sample[:taken], images[:taken], label[:taken]
            progress.update(taken)
            left -= taken
            if not left:
                return


def flat(features: Any, n_samples: int) -> Tensor:
    """Return features as (samples, numbers) in float32; a tuple, list or mapping of tensors as these side by side.

    Raises InputError for anything else, and for a tensor whose first dimension is not the samples.
    """
    if isinstance(features, Mapping):
        features = list(features.values())
    if isinstance(features, tuple | list) and features:
        return torch.cat([flat(part, n_samples) for part in features], dim=1)
    if not isinstance(features, Tensor) or features.ndim < 2 or len(features) != n_samples:
        shape = f" of shape {tuple(features.shape)}" if isinstance(features, Tensor) else ""
        raise InputError(
            f"a segment of the network gives {type(features).__name__}{shape} for {n_samples} images; probes need "
            "tensors whose first dimension is the images"
        )
    features = features.to(torch.float32)
    if features.ndim == 4:
        return _pooled(features).flatten(1)
    return features.mean(dim=1) if features.ndim == 3 else features.flatten(1)


def _pooled(maps: Tensor) -> Tensor:
    """Return feature maps on the finest grid, at most SIDE×SIDE, that leaves at most FEATURES numbers per image."""
    _, channels, height, width = maps.shape
    side = next((side for side in range(SIDE, 1, -1) if channels * side * side <= FEATURES), 1)
    return adaptive_avg_pool2d(maps, (min(side, height), min(side, width)))


@torch.inference_mode()
def vote(support: Tensor, labels: Tensor, queries: Tensor, neighbours: int, n_classes: int) -> Tensor:
    """Return the label (queries,) that most of the `neighbours` nearest rows of `support` have, for each query.

    `support` is (rows, features) with `labels` (rows,), `queries` (queries, features). Every row is compared, through
    matrix products: |s − q|² less |q|², in float32. Of rows equally far the first ones in the support are nearer, of
    labels with equally many votes the smallest wins.
    """
    centre = support.mean(dim=0)  # differences of large squares would lose digits
    support, queries = support - centre, queries - centre
    lengths = support.square().sum(dim=1)
    ballots = one_hot(labels, n_classes).to(torch.float32)
    answers = []
    for block in queries.split(max(1, DISTANCES // len(support))):
        distance = lengths - 2 * (block @ support.T)
        answers.append((_nearest(distance, neighbours).to(torch.float32) @ ballots).argmax(dim=1))
    return torch.cat(answers)


def _nearest(distance: Tensor, neighbours: int) -> Tensor:
    """Return a mask (queries, rows) of each query's nearest rows, exactly `neighbours`, the first ones of equals."""
    nearest = distance.topk(neighbours, dim=1, largest=False, sorted=False).values
    limit = nearest.amax(dim=1, keepdim=True)
    closer, at_limit = distance < limit, distance == limit
    wanted = neighbours - closer.sum(dim=1, keepdim=True)
    return closer | (at_limit & (at_limit.cumsum(dim=1) <= wanted))
