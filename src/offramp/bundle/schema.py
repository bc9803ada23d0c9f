"""bundle.json: the policy, the classes, what images must look like, the pieces and every file's digest.

Digests, the file's own among them, tell a bundle that is complete and as it was exported from one that was damaged,
copied in part, mixed with another or edited by hand. They do not guard against somebody who computes them anew.
"""

import hashlib
import json
import math
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from offramp.named import Named
from offramp.predictive.rules import RouteRule
from offramp.rules import Rule, rule_from_json
from offramp.runtime.sessions import FEATURES, LABEL, UNCERTAINTY
from offramp.runtime.steps import Piece
from offramp.runtime.stops import policy_pieces
from offramp.scoring import CHANGE, Scoring
from offramp.uncertainty import SCORES

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


class PolicyEntry(_Strict):
    """A policy and its scoring, as in policies.json."""

    name: Name
    feasible: bool
    reason: Name = ""
    score: Name
    temperature: Annotated[dict[str, Annotated[Finite, Field(gt=0)]], Field(min_length=1, max_length=1000)]
    score_arguments: dict[str, Any] | None = None
    thresholds: dict[str, Finite | Literal["inf"] | None]
    rule: Name = Rule.name
    arguments: dict[str, Any] | None = None


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
    policy: PolicyEntry
    pieces: Annotated[list[PieceEntry], Field(min_length=1, max_length=1000)]
    files: dict[str, FileEntry]

    @property
    def exits(self) -> list[str]:
        return list(self.policy.temperature)

    @property
    def stages(self) -> list[Piece]:
        """Return what the stages run, in the order of `pieces`."""
        return stages_of(self.named)

    @property
    def named(self) -> Named:
        entry = self.policy
        limits = tuple(math.inf if t == "inf" else t for t in (entry.thresholds[name] for name in self.exits))
        scoring = Scoring.from_json(entry.score, entry.temperature, entry.score_arguments)
        return Named(
            entry.name, limits, scoring, entry.feasible, entry.reason, rule_from_json(entry.rule, entry.arguments)
        )

    @model_validator(mode="after")
    def _check(self) -> Self:
        exits = [f"exit_{number}" for number in range(1, len(self.exits) + 1)]
        if self.exits != exits or list(self.policy.thresholds) != exits or self.policy.thresholds[exits[-1]] != "inf":
            raise ValueError('temperature and thresholds must name exit_1 … exit_E in order, the last threshold "inf"')
        policy = self.named
        policy.rule.check(policy.thresholds[:-1])
        change = policy.scoring.change
        if change is not None and not change.fits(len(exits), len(self.classes)):
            raise ValueError(f"the score {CHANGE!r} was not fitted for {len(self.classes)} classes")
        if isinstance(policy.rule, RouteRule):
            policy.rule.fits(policy.scoring, len(self.classes))
            if policy.rule.route.keyed:
                raise ValueError(f"rule {policy.rule.name!r} asks for sample ids, which images in a folder do not have")
        if MODES.get(self.preprocessing.image_shape[0]) != self.preprocessing.channels:
            raise ValueError("image_shape and channels speak of different images")
        names = [entry.file for entry in self.pieces]
        if sorted(self.files) != sorted({README, *names}):
            raise ValueError(f"files must list {README} and the stages, {', '.join(names)}")
        self._check_pieces(policy)
        return self

    def _check_pieces(self, policy: Named) -> None:
        """Raise ValueError where the stages are not those that the policy runs, or do not follow on each other."""
        wanted = stages_of(policy)
        if [entry.exit for entry in self.pieces] != [f"exit_{piece.end + 1}" for piece in wanted]:
            raise ValueError("there must be the stages of each exit with a threshold, and of no other")
        channels, height, width = self.preprocessing.image_shape
        given = TensorEntry(name=IMAGES, type="uint8", shape=[height, width, channels])
        for entry, piece in zip(self.pieces, wanted, strict=True):
            answer = answer_tensors(piece, policy.scoring, len(self.classes))
            n_features = int(piece.features)
            good = entry.file == stage_file(piece) and entry.heads == [f"exit_{k + 1}" for k in piece.heads]
            good &= entry.input == given and entry.outputs[: len(answer)] == answer
            if not good or len(entry.outputs) != len(answer) + n_features:
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


def stages_of(policy: Named) -> list[Piece]:
    enabled = [threshold is not None for threshold in policy.thresholds]
    return policy_pieces(enabled, policy.rule, policy.scoring.change is not None)


def reports(piece: Piece, scoring: Scoring) -> bool:
    """Return whether a stage ends with an uncertainty: all but the last under score `change`, which has none there."""
    return piece.features or scoring.change is None


def answer_tensors(piece: Piece, scoring: Scoring, n_classes: int) -> Sequence[TensorEntry]:
    """Return the outputs of a stage, its features aside: an answer or, where that is made outside, logits."""
    label = TensorEntry(name=LABEL, type="int64", shape=[])
    if piece.answered and not reports(piece, scoring):
        return [label]
    if not piece.answered or scoring.score not in SCORES:
        return [TensorEntry(name=f"logits_{k + 1}", type="float32", shape=[n_classes]) for k in piece.heads]
    return [label, TensorEntry(name=UNCERTAINTY, type="float64", shape=[])]
