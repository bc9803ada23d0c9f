"""Writing a bundle: its stages, bundle.json and a README, all of it or nothing.

There is a stage per enabled exit; under a rule that skips heads trunk and head are apart. The policy's score is inside
the stages where it has an ONNX graph and no route looks at more; else NumPy computes it. What runs them needs ONNX
Runtime and NumPy. A bundle is loaded once, as its users will, before it takes its place.
"""

import hashlib
from pathlib import Path
from typing import Any

from offramp import __version__
from offramp.policies.file import rule_to_json, scoring_to_json, thresholds_to_json
from offramp.policies.policy import Policy
from offramp.policies.routes.rule import RouteRule
from offramp.project.errors import InputError
from offramp.project.files import replacing_folder, write_json, write_text
from offramp.runtime.bundle.graph import Graph, tensor
from offramp.runtime.bundle.reading import load
from offramp.runtime.bundle.schema import (
    MANIFEST,
    MODES,
    OURS,
    README,
    BundledPolicy,
    FileEntry,
    Manifest,
    Model,
    PieceEntry,
    Preprocessing,
    digest,
    reports,
    stage_file,
    stages_of,
)
from offramp.runtime.bundle.text import readme
from offramp.runtime.engines.onnx import piece_model
from offramp.runtime.engines.pieces import Piece


def write_bundle(folder: Path, graph: Graph, policy: Policy) -> Manifest:
    """Write the bundle of a policy and its network into `folder`; return what bundle.json holds.

    An infeasible policy is written like any other, and says so. Raises InputError where policy and network do not fit,
    and for an existing folder that holds anything but a bundle; then nothing has changed.
    """
    require_fit(graph, policy)
    with replacing_folder(folder, require_bundle) as temporary:
        entries = [_write_stage(temporary, graph, policy, piece) for piece in stages_of(policy)]
        text = readme(__version__, _model(graph), graph.about.classes, _preprocessing(graph), entries, policy)
        write_text(temporary / README, text)
        manifest = Manifest(
            offramp=__version__,
            model=_model(graph),
            dataset=graph.about.dataset,
            engine=graph.engine,
            classes=graph.about.classes,
            preprocessing=_preprocessing(graph),
            policy=BundledPolicy.model_validate(_policy_json(policy)),
            pieces=entries,
            files={name: _file_entry(temporary / name) for name in (README, *(entry.file for entry in entries))},
        )
        _write_manifest(temporary / MANIFEST, manifest, policy)
        load(temporary)
    return manifest


def require_fit(graph: Graph, policy: Policy) -> None:
    """Raise InputError where a policy is for another number of exits or, with a fitted score, of classes."""
    n_exits, n_classes = len(graph.about.exits), len(graph.about.classes)
    if len(policy.thresholds) != n_exits:
        raise InputError(
            f"the policy {policy.name} is for {len(policy.thresholds)} exits, {graph.path} has {n_exits}; "
            "give the policies that were calibrated for this model (--policies, --model)"
        )
    scoring = policy.require_scoring()
    if not scoring.fits(n_exits, n_classes):
        raise InputError(
            f"the policy {policy.name} has the score {scoring.score!r}, fitted for another number of classes than the "
            f"{n_classes} of {graph.path}; give the policies that were calibrated for this model (--policies, --model)"
        )
    if isinstance(policy.rule, RouteRule):
        _require_route(policy.rule, policy, n_classes)


def _require_route(rule: RouteRule, policy: Policy, n_classes: int) -> None:
    """Raise InputError for a route that does not fit score or classes, or that a bundle cannot run."""
    try:
        rule.fits(policy.require_scoring(), n_classes)
    except ValueError as error:
        raise InputError(f"the policy {policy.name} cannot be exported for this model: {error}") from None
    if rule.route.keyed:
        raise InputError(
            f"the policy {policy.name} draws jumps by sample ids, which images in a folder do not have; it is a "
            "control for the benchmark, export another policy"
        )


def require_bundle(folder: Path) -> None:
    """Raise InputError where a folder is not a bundle and nothing else, which may be replaced."""
    names = sorted(entry.name for entry in folder.iterdir())
    if MANIFEST not in names:
        raise InputError(f"{folder} exists and is no bundle (it has no {MANIFEST}); name a new or empty folder")
    others = [name for name in names if not OURS.fullmatch(name)]
    if others:
        raise InputError(f"{folder} holds {others[0]!r}, which is not of a bundle; move it away or name another folder")


def _model(graph: Graph) -> Model:
    return Model(name=graph.about.model, sha256=graph.about.model_sha256)


def _preprocessing(graph: Graph) -> Preprocessing:
    return Preprocessing(image_shape=graph.about.image_shape, channels=MODES[graph.about.image_shape[0]])


def _write_stage(folder: Path, graph: Graph, policy: Policy, piece: Piece) -> PieceEntry:
    scoring = policy.require_scoring()
    model = piece_model(graph.model, piece, scoring if reports(piece, scoring) else None)
    (folder / stage_file(piece)).write_bytes(model.SerializeToString(deterministic=True))
    return PieceEntry(
        file=stage_file(piece),
        exit=f"exit_{piece.end + 1}",
        heads=[f"exit_{k + 1}" for k in piece.heads],
        input=tensor(model.graph.input[0], graph.path),
        outputs=[tensor(value, graph.path) for value in model.graph.output],
    )


def _policy_json(policy: Policy) -> dict[str, Any]:
    """Return the entry of a policy; what does not exist is left out, thresholds aside."""
    scoring = policy.require_scoring()
    entry: dict[str, Any] = {"name": policy.name, "feasible": policy.feasible}
    entry |= {"reason": policy.reason} if policy.reason else {}
    entry |= scoring_to_json(scoring) | {"thresholds": thresholds_to_json(policy, scoring.exits)}
    return entry | rule_to_json(policy.rule)


def _file_entry(path: Path) -> FileEntry:
    content = path.read_bytes()
    return FileEntry(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


def _write_manifest(path: Path, manifest: Manifest, policy: Policy) -> None:
    """Write bundle.json with its digest last; what does not exist is left out."""
    content = manifest.model_dump() | {"policy": _policy_json(policy)}
    if not manifest.dataset:
        del content["dataset"]
    content["preprocessing"]["image_shape"] = list(manifest.preprocessing.image_shape)
    write_json(path, content | {"sha256": digest(content)})
