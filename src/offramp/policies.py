"""Policies: they decide from uncertainties where a sample leaves. Owns metrics/policies.json.

A sample leaves at the first exit whose uncertainty is **at most** its threshold; `leaves` is the one place where that
comparison is made, for calibration, replay and runtime. A policy's `rule` says which uncertainty that is: the sample's
own or its batch's (`offramp.rules`). `None` (null in JSON) disables an exit: its head is not run. Infinity ("inf" in
JSON): everyone still there leaves; the last exit always has it.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from offramp.costs import Costs, LatencyRow, costs_from_json
from offramp.errors import InputError
from offramp.files import write_text
from offramp.leaving import leaves as leaves
from offramp.params.reading import validate
from offramp.policies_schema import PoliciesFile
from offramp.rules import THRESHOLD, Rule, rule_from_json, rule_to_json
from offramp.scoring import Scoring

Threshold = float | None
Thresholds = tuple[Threshold, ...]  # (exits,)
SCHEMA_VERSION = 1


class Decision(Protocol):
    """What decides where samples leave: a Policy, a Named one, a calibrator's Choice."""

    @property
    def thresholds(self) -> Thresholds: ...
    @property
    def rule(self) -> Rule: ...


@dataclass(frozen=True)
class Policy:
    """One threshold per exit, the rule that they belong to, and how it came about."""

    method: str
    target: float
    thresholds: Thresholds
    feasible: bool = True
    reason: str = ""  # one sentence, where the target cannot be met
    nearest: float | None = None  # the best value that can be reached then
    validation: Mapping[str, Any] = field(default_factory=dict)
    certificate: Mapping[str, Any] | None = None  # the proof, to be derived again by `offramp check --val`
    expectation: Mapping[str, Any] | None = None  # what conformal risk control promises
    labels_needed: int | None = None  # about how many validation rows would certify what these could not
    rule: Rule = THRESHOLD

    @property
    def name(self) -> str:
        return f"{self.method}@{self.target:g}"


@dataclass(frozen=True)
class Policies:
    """The content of policies.json: policies that share a scoring; `selected` is deployed.

    `costs` are the times that calibration minimised, `cost` in the file; None where that was MACs, which stand in
    metrics/costs.json.
    """

    scoring: Scoring
    policies: list[Policy]
    selected: Policy
    costs: Costs | None = None

    @property
    def cost_row(self) -> LatencyRow | None:
        """Return the engine and batch size whose time was minimised; None for MACs."""
        return None if self.costs is None else self.costs.row

    @property
    def exits(self) -> list[str]:
        return self.scoring.exits


def exits_taken(uncertainty: NDArray[np.float64], thresholds: Sequence[Threshold]) -> NDArray[np.intp]:
    """Return where each sample leaves (samples,), exits counted from 0, for uncertainties (samples, exits).

    The last exit takes whoever is left, whatever its uncertainty.
    """
    enabled = np.array([threshold is not None for threshold in thresholds])
    limits = np.array([0.0 if threshold is None else threshold for threshold in thresholds])
    out = leaves(uncertainty, limits) & enabled
    out[:, -1] = True
    return out.argmax(axis=1)


def parts_of(policy: Decision | Sequence[Threshold]) -> tuple[Thresholds, Rule]:
    """Return the thresholds (exits,) and the rule of a policy; bare thresholds are those of rule `threshold`."""
    if isinstance(policy, Sequence):
        return tuple(policy), THRESHOLD
    return policy.thresholds, policy.rule


def full_network(n_exits: int) -> Thresholds:
    """Return the thresholds under which nobody leaves early and no side head is run."""
    return (None,) * (n_exits - 1) + (math.inf,)


def midway(below: float, above: float) -> float:
    """Return the threshold between two neighbouring uncertainties, below <= threshold < above.

    Midway, because live logits differ from cached ones in the last bits; `below` where no number lies between.
    """
    middle = below + (above - below) / 2
    return float(middle if middle < above else below)


def write_policies(path: Path, content: Policies) -> None:
    """Write policies.json; the steps of a certificate take one line each."""
    scoring = content.scoring
    value: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "score": scoring.score,
        "temperature": scoring.temperature,
    }
    if scoring.arguments is not None:
        value["score_arguments"] = scoring.arguments
    if content.costs is not None:
        value["cost"] = content.costs.to_json(content.exits)
    value["policies"] = [_to_json(policy, content) for policy in content.policies]
    steps: list[str] = []
    for entry in value["policies"]:
        if "certificate" in entry:
            first = len(steps)
            steps += [json.dumps(step, allow_nan=False) for step in entry["certificate"]["steps"]]
            entry["certificate"] = {**entry["certificate"], "steps": [f"step {n}" for n in range(first, len(steps))]}
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    write_text(path, re.sub(r'"step (\d+)"', lambda match: steps[int(match[1])], text))


def read_policies(path: Path) -> Policies:
    """Return the policies in a file. Raises InputError where it breaks the contract, naming the entry."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise InputError(
            f"there is no policies file {path}; `dvc repro calibrate` writes metrics/policies.json"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not readable JSON: {error}") from None
    if not isinstance(raw, dict):
        raise InputError(f"{path} must hold a JSON object with schema_version, score, temperature and policies")
    content = validate(PoliciesFile, raw, str(path))
    exits = list(content.temperature)
    policies = [
        Policy(
            method=entry.method,
            target=entry.target,
            thresholds=tuple(math.inf if t == "inf" else t for t in (entry.thresholds[name] for name in exits)),
            feasible=entry.feasible,
            reason=entry.reason,
            nearest=entry.nearest,
            validation=entry.validation,
            certificate=None if entry.certificate is None else entry.certificate.model_dump(),
            expectation=entry.expectation,
            labels_needed=entry.labels_needed,
            rule=rule_from_json(entry.rule, entry.arguments),
        )
        for entry in content.policies
    ]
    selected = next(policy for policy, entry in zip(policies, content.policies, strict=True) if entry.selected)
    scoring = Scoring.from_json(content.score, content.temperature, content.score_arguments)
    costs = None if content.cost is None else costs_from_json(content.cost)
    return Policies(scoring, policies, selected, costs)


def describe(content: Policies) -> str:
    """Return a line per policy, infeasible ones with their reason, the selected one marked."""
    width = max(len(policy.name) for policy in content.policies)
    lines = []
    for policy in content.policies:
        mark = "*" if policy is content.selected else " "
        figures = _figures(policy, content.costs) + _betas(policy, content.scoring)
        lines.append(f"{mark} {policy.name:<{width}}  {figures}{_promise(policy)}")
    lines.append("* selected" + ("" if content.selected.feasible else ", although it is infeasible"))
    return "\n".join(lines)


def _figures(policy: Policy, costs: Costs | None) -> str:
    """Return rule and in-sample figures in words; somebody's file, or one without every label, may lack figures."""
    validation, rule = policy.validation, f", {policy.rule.words}" if policy.rule.words else ""
    ratio, words = ("mac_ratio", "of the full cost") if costs is None else (costs.ratio, costs.of_full)
    if ratio not in validation:
        return f"without validation figures{rule}"
    accuracy = f"accuracy {validation['accuracy']:.4f}" if "accuracy" in validation else "accuracy unknown"
    return f"{accuracy}, {validation[ratio]:.3f} {words} on validation{rule}"


def beta(policy: Decision, scoring: Scoring) -> float | None:
    """Return the β of a policy: under score `activation`, minus the finite threshold that all enabled side exits share.

    None under other scores, where thresholds differ, and where none is finite. A threshold above 0 lets everyone go, as
    β = 0 does.
    """
    cuts = {threshold for threshold in policy.thresholds[:-1] if threshold is not None}
    if scoring.activation is None or len(cuts) != 1 or not math.isfinite(min(cuts)):
        return None
    return max(0.0, -min(cuts))


def _betas(policy: Policy, scoring: Scoring) -> str:
    """Return β in words, of all exits or as a range; nothing under a score that has none."""
    own = beta(policy, scoring)
    if own is not None:
        return f", β {own:.4g}"
    cuts = [-t for t in policy.thresholds[:-1] if t is not None and math.isfinite(t)]
    return f", β {min(cuts):.4g} to {max(cuts):.4g}" if scoring.activation is not None and cuts else ""


def _promise(policy: Policy) -> str:
    """Return what is proved or expected of a policy, or why its target cannot be met."""
    if not policy.feasible:
        needed = "" if policy.labels_needed is None else f" (about {policy.labels_needed} validation labels would do)"
        return f"  INFEASIBLE: {policy.reason}{needed}"
    if policy.certificate is not None:
        about = policy.certificate
        text = f"  certified: step {about['returned']} of {about['declared']}, {about['labels_used']} labels"
        stopped = "unlabelled" in about["steps"][-1]
        return text + ("; the walk stopped for want of labels, see `offramp labels`" if stopped else "")
    return "" if policy.expectation is None else "  in expectation"


def _to_json(policy: Policy, content: Policies) -> dict[str, Any]:
    thresholds = ["inf" if t == math.inf else t for t in policy.thresholds]
    entry: dict[str, Any] = {"name": policy.name, "method": policy.method, "target": policy.target}
    entry |= rule_to_json(policy.rule)
    entry["thresholds"] = dict(zip(content.exits, thresholds, strict=True))
    entry["feasible"] = policy.feasible
    if not policy.feasible:
        entry["reason"] = policy.reason
    optional = {"nearest": policy.nearest, "labels_needed": policy.labels_needed}
    entry |= {key: number for key, number in optional.items() if number is not None}
    entry |= {"selected": policy is content.selected, "validation": policy.validation}
    proofs = {"certificate": policy.certificate, "expectation": policy.expectation}
    return entry | {key: proof for key, proof in proofs.items() if proof is not None}


def _refuse_constant(name: str) -> None:
    raise ValueError(f'{name} is not JSON; write "inf" for "everyone leaves", null for a disabled exit')
