"""Loading and running a bundle. Needs onnxruntime, NumPy and Pillow, neither torch nor onnx.

Everything is checked before the first answer: bundle.json, that its files and no others are there as they were written
(see `bundle.schema` for what that guards against), that the stages take and give what bundle.json says, and
that an image passes through all of them.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from offramp.project.allowed import describe
from offramp.project.errors import InputError
from offramp.runtime.bundle.images import Failure, find_images, read_image
from offramp.runtime.bundle.schema import MANIFEST, SCHEMA_VERSION, FileEntry, Manifest, PieceEntry, TensorEntry, digest
from offramp.runtime.engines.pieces import Piece, Step
from offramp.runtime.engines.sessions import SessionStep
from offramp.runtime.live import Answers, Images
from offramp.runtime.live_routes import runtime_for
from offramp.scores.scoring import Scoring

LARGEST_MANIFEST = 2**26  # bytes
TYPES = {"float": "float32", "double": "float64"}  # ONNX Runtime's names -> NumPy's, where they differ


class Prediction(NamedTuple):
    """An image's answer. `ms` is its share of the time of every stage it went through, without decoding."""

    image: str
    label: str
    exit: str
    uncertainty: float  # NaN at the last exit under a score that has none there, `change`
    ms: float


class Bundle:
    """A policy and its network, ready to answer.

    `classes` and `exits` are names, `policy` says what runs, `manifest` is all of bundle.json.
    """

    def __init__(self, manifest: Manifest, steps: Mapping[Piece, Step]) -> None:
        """Join checked parts; `load` makes them."""
        self.manifest = manifest
        self.classes, self.exits = manifest.classes, manifest.exits
        self.policy = manifest.runnable
        self.image_shape = manifest.preprocessing.image_shape  # channels, height, width
        reports_last = not self.policy.require_scoring().compares_exits
        self._run = runtime_for(_Engine(manifest.engine, steps), self.policy, reports_last)

    def __call__(self, images: Images) -> Answers:
        """Return label, exit and uncertainty (samples,) of uint8 images (samples, height, width, channels), one batch.

        A policy of rule `batch` decides for all of them together. `classes[label]` and `exits[exit]` are names. Raises
        InputError for images of another type or shape.
        """
        channels, height, width = self.image_shape
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.shape[1:] != (height, width, channels):
            raise InputError(
                f"this bundle takes uint8 images of shape (samples, {height}, {width}, {channels}); got "
                f"{images.dtype} {images.shape}"
            )
        return self._run(images)

    def predict_files(
        self, paths: Iterable[str | os.PathLike[str] | Failure], batch_size: int | None = None
    ) -> Iterator[Prediction | Failure]:
        """Yield the answer of every image file, in order, and of those in folders; a Failure where one is unreadable.

        Paths are asked for as they are needed, `batch_size` at a time; by default as many as a policy of rule `batch`
        was chosen for, else 1. Under that rule those of them that are readable are decided together. See
        `offramp.runtime.bundle.images` for what is read.
        """
        batch_size = (self.policy.rule.batch_size or 1) if batch_size is None else batch_size
        if batch_size < 1:
            raise InputError(f"batch_size must be a whole number, at least 1; got {batch_size}")
        found = find_images(paths)
        while group := list(islice(found, batch_size)):
            images = [item if isinstance(item, Failure) else read_image(item, self.image_shape) for item in group]
            answers = self._named([image for image in images if not isinstance(image, Failure)])
            for item, image in zip(group, images, strict=True):
                yield image if isinstance(image, Failure) else Prediction(str(item), *next(answers))

    def _named(self, images: list[Images]) -> Iterator[tuple[str, str, float, float]]:
        """Yield label, exit, uncertainty and ms of images, each (height, width, channels)."""
        if not images:
            return
        answers = self._run(np.stack(images))
        ms, until = 0.0, {}
        for step in answers.steps:
            ms += step.nanoseconds / step.samples / 1e6
            until[step.exit] = ms
        for label, k, uncertainty in zip(answers.label, answers.exit, answers.uncertainty, strict=True):
            yield self.classes[label], self.exits[k], float(uncertainty), until[int(k)]


def load(folder: str | os.PathLike[str], threads: int = 2) -> Bundle:
    """Return a bundle, checked and warm. Its sessions share one pool of `threads` threads with others of this process.

    Raises InputError, in one line that names the file, for a bundle that is not as it was exported.
    """
    if type(threads) is not int or threads < 1:
        raise InputError(f"threads must be a whole number, at least 1; got {threads!r}")
    place = Path(folder)
    manifest = _read_manifest(place)
    _require_no_others(place, manifest)
    contents = {name: _read(place / name, entry) for name, entry in manifest.files.items()}
    steps = {}
    for piece, entry in zip(manifest.stages, manifest.pieces, strict=True):
        steps[piece] = _open(place / entry.file, contents.pop(entry.file), entry, threads)
    for n_samples in (2, 1):
        _rehearse(place, manifest, steps, n_samples)
    return Bundle(manifest, steps)


class _Engine:
    """The stages of a bundle, as the runtime asks for them."""

    def __init__(self, name: str, steps: Mapping[Piece, Step]) -> None:
        self.name, self._steps = name, steps

    def step(self, piece: Piece, scoring: Scoring | None) -> Step:  # noqa: ARG002 (the stages hold it)
        return self._steps[piece]

    def exit_logits(self, images: Images) -> NDArray[np.float32]:
        raise NotImplementedError("a bundle holds the heads that its policy runs, and no others")


class _Stage(SessionStep):
    """A stage that says what it takes and gives."""

    @property
    def tensors(self) -> list[TensorEntry]:
        """Return its inputs and outputs. Raises ValueError where one sample's shape is not fixed."""
        return [_tensor(value) for value in (*self._session.get_inputs(), *self._session.get_outputs())]


def _tensor(value: Any) -> TensorEntry:
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    return TensorEntry(name=value.name, type=TYPES.get(kind, kind), shape=value.shape[1:])


def _read_manifest(folder: Path) -> Manifest:
    """Return bundle.json. Its digest is looked at before its content."""
    path = folder / MANIFEST
    if not folder.is_dir():
        raise InputError(f"there is no bundle {folder}; `offramp export` writes one")
    if not os.path.lexists(path):
        raise InputError(f"{folder} is no bundle: it has no {MANIFEST}; `offramp export` writes one")
    if not stat.S_ISREG(path.lstat().st_mode) or path.stat().st_size > LARGEST_MANIFEST:
        raise _damaged(path, f"is no file of at most {LARGEST_MANIFEST} bytes")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, f"is not readable JSON ({error})") from None
    if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
        raise InputError(f"{path} is not of schema_version {SCHEMA_VERSION}; use the offramp that exported the bundle")
    if content.pop("sha256", None) != digest(content):
        raise _damaged(path, "does not fit its own digest")
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise _damaged(path, f"breaks the contract ({describe(error, Manifest)})") from None


def _require_no_others(folder: Path, manifest: Manifest) -> None:
    """Raise InputError for a file that bundle.json does not list; hidden files, which systems leave, are let be."""
    listed = {MANIFEST, *manifest.files}
    for entry in sorted(folder.iterdir()):
        if entry.name not in listed and not entry.name.startswith("."):
            raise InputError(f"{entry} is not of this bundle; move it away, or export the bundle again")


def _read(path: Path, entry: FileEntry) -> bytes:
    """Return a file's bytes, which must be a plain file with this size and digest."""
    if not os.path.lexists(path):
        raise _damaged(path, "is missing")
    if not stat.S_ISREG(path.lstat().st_mode):
        raise _damaged(path, "is a link or no file, where a bundle has plain files")
    if path.stat().st_size != entry.bytes:
        raise _damaged(path, f"has {path.stat().st_size} bytes, {MANIFEST} says {entry.bytes}")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise _damaged(path, f"does not fit its digest in {MANIFEST}")
    return content


def _open(path: Path, content: bytes, entry: PieceEntry, threads: int) -> _Stage:
    try:
        stage = _Stage(content, threads)
        tensors = stage.tensors
    except Exception as error:  # ONNX Runtime has a class of its own for every failure
        raise _damaged(path, f"is not a stage that ONNX Runtime loads ({_line(error)})") from None
    if tensors != [entry.input, *entry.outputs]:
        raise _damaged(path, f"takes or gives something else than {MANIFEST} says")
    return stage


def _rehearse(folder: Path, manifest: Manifest, steps: Mapping[Piece, Step], n_samples: int) -> None:
    """Pass blank images through every stage: they must fit each other, and the first real one finds them warm."""
    channels, height, width = manifest.preprocessing.image_shape
    features: Any = np.zeros((n_samples, height, width, channels), np.uint8)
    for piece, entry in zip(manifest.stages, manifest.pieces, strict=True):
        try:
            output = steps[piece](features)
        except Exception as error:  # see _open
            raise _damaged(folder / entry.file, f"does not run ({_line(error)})") from None
        if piece.features:
            features = output.features
        wrong = output.label.shape != ((n_samples,) if piece.heads else (0,))
        if wrong or not (output.label < len(manifest.classes)).all():
            raise _damaged(folder / entry.file, "does not answer with one class per image")


def _damaged(path: Path, problem: str) -> InputError:
    return InputError(f"{path} {problem}: the bundle is damaged or was edited; export it again")


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:197] + "..."
