"""The embedded data set: real handwritten digits, rendered with graded difficulty; works offline.

The source is the 1,797 8×8 digits that ship with scikit-learn (Alpaydin & Kaynak, 1998). 1,000 originals are rendered
for `train`; the other 797 for `val` and `test`, which are independent renderings of the same 797. Rows of a split are
i.i.d. draws: an original, a difficulty d ~ U(0, 1), then everything that d scales. So a statement about test rows is
about renderings of these 797 originals, which the network has not seen, and not about new handwriting.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.data.prepared import Batch

SIZE = 32  # pixels, the side of a rendered image
CLASSES = [str(digit) for digit in range(10)]
SPLITS = ("train", "val", "test")
TRAIN_ORIGINALS = 1000
CHUNK = 500  # images rendered at once: the working set of a layer stays in the processor's cache
MAX_CLUTTER = 3

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Originals:
    """Glyphs (originals, 8, 8) with ink in [0, 1], and their digits (originals,)."""

    glyphs: Floats
    digits: NDArray[np.int64]


def render(split: str, count: int, seed: int) -> Iterator[Batch]:
    """Yield `count` samples of a split, a chunk at a time: 32×32 RGB images, labels, difficulties in [0, 1)."""
    originals = split_originals(split, seed)
    labels_rng, rng = _generators(split, seed)
    chosen = labels_rng.integers(len(originals.digits), size=count)
    for start in range(0, count, CHUNK):
        rows = chosen[start : start + CHUNK]
        difficulty = rng.random(len(rows), dtype=np.float32)
        yield Batch(_render_chunk(originals, rows, difficulty, rng), originals.digits[rows], difficulty)


def labels(split: str, count: int, seed: int) -> NDArray[np.int64]:
    """Return the labels that `render` will yield, without rendering."""
    originals = split_originals(split, seed)
    return originals.digits[_generators(split, seed)[0].integers(len(originals.digits), size=count)]


def split_originals(split: str, seed: int) -> Originals:
    """Return the originals of a split: 1,000 for train, the other 797 for val and for test alike."""
    from sklearn.datasets import load_digits  # a second of import, needed by this source only

    digits = load_digits()
    order = np.random.default_rng([seed, len(SPLITS)]).permutation(len(digits.target))
    rows = order[:TRAIN_ORIGINALS] if split == "train" else order[TRAIN_ORIGINALS:]
    return Originals((digits.images[rows] / 16).astype(np.float32), digits.target[rows].astype(np.int64))


def _generators(split: str, seed: int) -> tuple[np.random.Generator, np.random.Generator]:
    """One generator for which originals are drawn, one for how they are rendered."""
    number = SPLITS.index(split)
    return np.random.default_rng([seed, number, 0]), np.random.default_rng([seed, number, 1])


def _render_chunk(
    originals: Originals, rows: NDArray[np.int64], difficulty: Floats, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Render originals `rows` (n,) with their difficulties (n,) to images (n, 32, 32, 3)."""
    n = len(rows)
    contrast = 1 - 0.7 * difficulty
    background, ink = _colours(n, contrast, rng)
    images = np.broadcast_to(background[:, None, None, :], (n, SIZE, SIZE, 3)).copy()
    for _ in range(MAX_CLUTTER):
        kept = np.flatnonzero(rng.random(n) < difficulty)
        colour = background + contrast[:, None] * (_uniform(rng, 0, 1, (n, 3)) - background)
        _paint(images, kept, _clutter(originals, rng, n), colour)
    _paint(images, np.arange(n), _main_digit(originals.glyphs[rows], difficulty, rng), ink)
    sigma = 0.02 + 0.15 * difficulty
    images += sigma[:, None, None, None] * rng.standard_normal(images.shape, dtype=np.float32)
    return (images.clip(0, 1) * 255 + 0.5).astype(np.uint8)


@dataclass(frozen=True)
class _Placement:
    """Glyphs (n, 8, 8) with their angle (rad), side length and centre (pixels from the image's centre), each (n,)."""

    glyphs: Floats
    angle: Floats
    side: Floats
    centre_y: Floats
    centre_x: Floats


def _main_digit(glyphs: Floats, difficulty: Floats, rng: np.random.Generator) -> _Placement:
    n = len(glyphs)
    side = SIZE * (0.95 - 0.45 * difficulty * _uniform(rng, 0, 1, n))
    reach = difficulty * ((SIZE - side) / 2 + 1)
    return _Placement(
        glyphs,
        angle=0.6 * difficulty * _uniform(rng, -1, 1, n),
        side=side,
        centre_y=reach * _uniform(rng, -1, 1, n),
        centre_x=reach * _uniform(rng, -1, 1, n),
    )


def _clutter(originals: Originals, rng: np.random.Generator, n: int) -> _Placement:
    """A smaller digit of any angle, near the rim, so that it disturbs the main digit more than it hides it."""
    direction = _uniform(rng, -np.pi, np.pi, n)
    distance = _uniform(rng, 9, 15, n)
    return _Placement(
        originals.glyphs[rng.integers(len(originals.glyphs), size=n)],
        angle=_uniform(rng, -np.pi, np.pi, n),
        side=_uniform(rng, 10, 18, n),
        centre_y=distance * np.sin(direction),
        centre_x=distance * np.cos(direction),
    )


def _colours(n: int, contrast: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return backgrounds and inks (n, 3): light on dark or dark on light, drawn together as contrast falls."""
    dark, light = _uniform(rng, 0.0, 0.35, (n, 3)), _uniform(rng, 0.65, 1.0, (n, 3))
    swap = rng.random((n, 1)) < 0.5
    background, ink = np.where(swap, light, dark), np.where(swap, dark, light)
    middle = (background + ink) / 2
    return middle + contrast[:, None] * (background - middle), middle + contrast[:, None] * (ink - middle)


def _paint(images: Floats, rows: NDArray[np.int64], placement: _Placement, colour: Floats) -> None:
    """Blend glyphs into `images[rows]` in place, their ink as opacity."""
    opacity = _resample(placement, rows)[..., None]  # (rows, 32, 32, 1)
    below = images[rows]
    images[rows] = below + opacity * (colour[rows, None, None, :] - below)


def _resample(placement: _Placement, rows: NDArray[np.int64]) -> Floats:
    """Return the ink of placed glyphs on the pixel grid (rows, 32, 32), bilinear; nothing outside the glyph."""
    pixel = np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2
    dy = pixel[None, :, None] - placement.centre_y[rows, None, None]  # (rows, 32, 1)
    dx = pixel[None, None, :] - placement.centre_x[rows, None, None]  # (rows, 1, 32)
    scale = 8 / placement.side[rows]
    cos = (np.cos(placement.angle[rows]) * scale)[:, None, None]
    sin = (np.sin(placement.angle[rows]) * scale)[:, None, None]
    padded = np.pad(placement.glyphs[rows], ((0, 0), (1, 1), (1, 1)))  # a rim without ink: (rows, 10, 10)
    y = (cos * dy + sin * dx + 4.5).clip(0, 8.999)  # glyph centre (3.5) + the rim
    x = (cos * dx - sin * dy + 4.5).clip(0, 8.999)
    top, left = y.astype(np.intp), x.astype(np.intp)
    down, right = y - top, x - left
    corner = (np.arange(len(rows)) * 100)[:, None, None] + top * 10 + left
    ink = padded.reshape(-1)
    upper = ink[corner] * (1 - right) + ink[corner + 1] * right
    lower = ink[corner + 10] * (1 - right) + ink[corner + 11] * right
    return upper * (1 - down) + lower * down


def _uniform(rng: np.random.Generator, low: float, high: float, shape: int | tuple[int, ...]) -> Floats:
    return (low + (high - low) * rng.random(shape, dtype=np.float32)).astype(np.float32)
