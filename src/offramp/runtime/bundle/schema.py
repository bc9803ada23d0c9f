"""bundle.json: the policy, the classes, what images must look like, the pieces and every file's digest.

Digests, the file's own among them, tell a bundle that is complete and as it was exported from one that was damaged,
copied in part, mixed with another or edited by hand. They do not guard against somebody who computes them anew.
"""

import hashlib
import json
import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from offramp.policies.file import PolicyEntry, ScoringEntry
from offramp.policies.policy import Policy
from offramp.policies.routes.rule import RouteRule
from offramp.runtime.engines.pieces import Piece
from offramp.runtime.engines.sessions import FEATURES, LABEL, UNCERTAINTY
from offramp.runtime.policy_pieces import policy_pieces
from offramp.scores.scoring import Scoring

SCHEMA_VERSION = 1
MANIFEST, README = "bundle.json", "README.md"
STAGE_FILE = r"(?:stage|head)_[1-9]\d{0,3}\.onnx"
OURS = re.compile(rf"{re.escape(MANIFEST)}|{re.escape(README)}|{STAGE_FILE}")
IMAGES = "images"
Mode = Literal["RGB", "grey"]
EngineName = Literal["onnx", "onnx_int8"]
MODES: dict[int, Mode] = {1: "grey", 3: "RGB"}  # channels -> what they are

Name = Annotated[str, Field(max_length=1000)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Axis = Annotated[int, Field(ge=1, le=2**20)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Model(_Strict):
    """The network: its key in params.yaml, and the sha256 of the file that was trained."""

    name: Name
    sha256: Digest


class Preprocessing(_Strict):
    """What the first stage takes: uint8 (samples, height, width, channels); an image of another size is resized."""

    image_shape: Annotated[tuple[Axis, Axis, Axis], Field(strict=False)]  # channels, height, width
    channels: Mode
    dtype: Literal["uint8"] = "uint8"
    resize: Literal["bilinear"] = "bilinear"
    scale: Literal["to [0, 1], inside the first stage"] = "to [0, 1], inside the first stage"


class BundledPolicy(PolicyEntry, ScoringEntry):
    """A policy and its scoring, as in policies.json."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    name: Name


class TensorEntry(_Strict):
    """An input or output of a stage; `shape` is one sample's, the first axis, of samples, is any."""

    name: Name
    type: Name
    shape: Annotated[list[Axis], Field(max_length=8)]


class PieceEntry(_Strict):
    """A stage: what runs between two enabled exits, `heads` being the exits whose logits are computed.

    Under a rule that skips heads, a stage may be the trunk alone or a head alone, which leads nowhere.
    """

    file: Annotated[str, Field(pattern=rf"^{STAGE_FILE}$")]
    exit: Name
    heads: list[Name]
    input: TensorEntry
    outputs: list[TensorEntry]


class FileEntry(_Strict):
    sha256: Digest
    bytes: Annotated[int, Field(ge=0, lt=2**31)]  # no ONNX file is larger


class Manifest(_Strict):
    """bundle.json without its own digest."""

    schema_version: Literal[1] = 1
    offramp: Name
    model: Model
    dataset: Name | None = None
    engine: EngineName
    classes: Annotated[list[Name], Field(min_length=2, max_length=2**20)]
    preprocessing: Preprocessing
    policy: BundledPolicy
    pieces: Annotated[list[PieceEntry], Field(min_length=1, max_length=1000)]
    files: dict[str, FileEntry]

    @property
    def exits(self) -> list[str]:
        return list(self.policy.temperature)

    @property
    def stages(self) -> list[Piece]:
        """Return what the stages run, in the order of `pieces`."""
        return stages_of(self.runnable)

    @property
    def runnable(self) -> Policy:
        """Return the policy in memory, with its scoring. Raises ValueError where its parts do not belong together."""
        return self.policy.policy(self.policy.scoring)

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.policy.require_exits()
        policy, scoring = self.runnable, self.policy.scoring
        if not scoring.fits(len(self.exits), len(self.classes)):
            raise ValueError(f"the score {scoring.score!r} was not fitted for {len(self.classes)} classes")
        if isinstance(policy.rule, RouteRule):
            policy.rule.fits(scoring, len(self.classes))
            if policy.rule.route.keyed:
                raise ValueError(f"rule {policy.rule.name!r} asks for sample ids, which images in a folder do not have")
        if MODES.get(self.preprocessing.image_shape[0]) != self.preprocessing.channels:
            raise ValueError("image_shape and channels speak of different images")
        names = [entry.file for entry in self.pieces]
        if sorted(self.files) != sorted({README, *names}):
            raise ValueError(f"files must list {README} and the stages, {', '.join(names)}")
        self._check_pieces(policy)
        return self

    def _check_pieces(self, policy: Policy) -> None:
        """Raise ValueError where the stages are not those that the policy runs, or do not follow on each other."""
        wanted = stages_of(policy)
        if [entry.exit for entry in self.pieces] != [f"exit_{piece.end + 1}" for piece in wanted]:
            raise ValueError("there must be the stages of each exit with a threshold, and of no other")
        channels, height, width = self.preprocessing.image_shape
        given = TensorEntry(name=IMAGES, type="uint8", shape=[height, width, channels])
        for entry, piece in zip(self.pieces, wanted, strict=True):
            answers = answer_tensors(piece, policy.require_scoring(), len(self.classes))
            n_features = int(piece.features)
            good = entry.file == stage_file(piece) and entry.heads == [f"exit_{k + 1}" for k in piece.heads]
            good &= entry.input == given and entry.outputs[: len(entry.outputs) - n_features] in answers
            if not good:
                raise ValueError(f"{entry.file} does not take what comes before it, or does not answer as the policy")
            if n_features:
                given = entry.outputs[-1]
                if given.name != f"{FEATURES}{piece.end + 1}":
                    raise ValueError(f"{entry.file} must end with {FEATURES}{piece.end + 1}")


def digest(content: dict[str, Any]) -> str:
    """Return the sha256 of the content of bundle.json, its own `sha256` aside, whatever its layout."""
    rest = {key: value for key, value in content.items() if key != "sha256"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def stage_file(piece: Piece) -> str:
    return f"{'head' if piece.start == piece.end else 'stage'}_{piece.end + 1}.onnx"


def stages_of(policy: Policy) -> list[Piece]:
    """Return what the stages of a policy's bundle run, in the order of the network."""
    return policy_pieces(policy.enabled, policy.rule, policy.require_scoring().compares_exits)


def reports(piece: Piece, scoring: Scoring) -> bool:
    """Return whether a stage ends with an uncertainty: all but the last under a score that compares exits."""
    return piece.features or not scoring.compares_exits


def answer_tensors(piece: Piece, scoring: Scoring, n_classes: int) -> list[list[TensorEntry]]:
    """Return what the outputs of a stage may be, its features aside: an answer, or logits to make it from outside.

    A score with an ONNX graph may be in the stage or not: it may have had none when the bundle was written.
    """
    label = TensorEntry(name=LABEL, type="int64", shape=[])
    if piece.answered and not reports(piece, scoring):
        return [[label]]
    logits = [TensorEntry(name=f"logits_{k + 1}", type="float32", shape=[n_classes]) for k in piece.heads]
    if not piece.answered or scoring.record.graph is None:
        return [logits]
    return [[label, TensorEntry(name=UNCERTAINTY, type="float64", shape=[])], logits]
