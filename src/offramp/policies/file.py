"""Policies in files: policies.json, which this module owns, and the entry of a policy that other files share."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from offramp.policies.certificate import Certificate, CertificateStep
from offramp.policies.costs import LARGEST, MS, RATIOS, costs_from_json
from offramp.policies.policy import Policies, Policy
from offramp.policies.routes.rule import ROUTES, RouteRule, route_rule
from offramp.policies.rules import THRESHOLD, Batch, Rule
from offramp.project.errors import InputError
from offramp.project.files import write_json, write_text
from offramp.project.sections import validate
from offramp.scores.scoring import Scoring


class ScoringEntry(BaseModel):
    """How uncertainties are computed: a score, each exit's temperature in the order of the exits, fitted parameters."""

    model_config = ConfigDict(strict=True, extra="forbid")
    score: str
    temperature: Annotated[dict[str, Annotated[float, Field(ge=1e-6, le=1e6)]], Field(min_length=1)]
    score_arguments: dict[str, Any] | None = None

    @property
    def scoring(self) -> Scoring:
        """Return the scoring. Raises ValueError for an unknown score and for arguments that are not its own."""
        return Scoring.from_json(self.score, self.temperature, self.score_arguments)

    def require_exits(self) -> list[str]:
        """Return the names of the exits. Raises ValueError unless they are exit_1 … exit_E in order."""
        exits = [f"exit_{number}" for number in range(1, len(self.temperature) + 1)]
        if list(self.temperature) != exits:
            raise ValueError(f"temperature must name exit_1 … exit_E in order; it names {', '.join(self.temperature)}")
        return exits


class PolicyEntry(BaseModel):
    """One policy in a file, policies.json or bundle.json: which samples exit where."""

    model_config = ConfigDict(strict=True, extra="forbid")
    name: str
    thresholds: dict[str, Annotated[float, Field(allow_inf_nan=False)] | Literal["inf"] | None]
    feasible: bool
    reason: str = ""
    rule: str = THRESHOLD.name
    arguments: dict[str, Any] | None = None

    def policy(self, scoring: Scoring) -> Policy:
        """Return the policy under a scoring. Raises ValueError for a rule and thresholds that do not belong together.

        They must be a threshold for every exit, the last one "inf", as the rule's arguments have them; a route must be
        able to use the score.
        """
        exits = scoring.exits
        if sorted(self.thresholds) != sorted(exits):
            raise ValueError(
                f"policy {self.name!r} must have a threshold for each of {', '.join(exits)}; "
                f"it has {', '.join(self.thresholds)}"
            )
        if self.thresholds[exits[-1]] != "inf":
            raise ValueError(f'policy {self.name!r}: the threshold of the last exit, {exits[-1]}, must be "inf"')
        thresholds = tuple(inf if t == "inf" else t for t in (self.thresholds[name] for name in exits))
        try:
            rule = rule_from_json(self.rule, self.arguments)
            rule.check(thresholds[:-1])
            if isinstance(rule, RouteRule):
                rule.fits(scoring)
        except ValueError as error:
            raise ValueError(f"policy {self.name!r}: {error}") from None
        return Policy(thresholds, rule, scoring, title=self.name, feasible=self.feasible, reason=self.reason)


class CalibratedEntry(PolicyEntry):
    """A policy in policies.json: what it was chosen for and how it came about."""

    method: str
    target: Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
    selected: bool
    validation: dict[str, Any] = {}
    nearest: float | None = None
    certificate: Certificate | None = None
    expectation: dict[str, Any] | None = None
    labels_needed: int | None = None
    score: str | None = None
    temperature: Any = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.name != f"{self.method}@{self.target:g}":
            raise ValueError(
                f"the name of policy {self.name!r:.60} must be its method and target, {self.method:.60}@{self.target:g}"
            )
        if self.score is not None or self.temperature is not None:
            raise ValueError(
                f"policy {self.name!r} has a score or temperature of its own; they stand once, for the file"
            )
        for key in ("accuracy", "loss", *RATIOS.values()):
            value = self.validation.get(key, 0.0)
            if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LARGEST:
                given = "null" if value is None else type(value).__name__ if not isinstance(value, float) else value
                raise ValueError(
                    f"policy {self.name!r}: validation.{key} must be a finite number or left out; it is {given}"
                )
        if self.certificate is not None and self.rule == Batch.name:
            raise ValueError(f"policy {self.name!r} has rule {self.rule!r}, for which there is no certificate")
        return self

    def policy(self, scoring: Scoring) -> Policy:
        """Return the policy, named after its method and target; see `PolicyEntry.policy`."""
        return replace(
            super().policy(scoring),
            title="",
            method=self.method,
            target=self.target,
            nearest=self.nearest,
            validation=self.validation,
            certificate=self.certificate,
            expectation=self.expectation,
            labels_needed=self.labels_needed,
        )


class PoliciesFile(ScoringEntry):
    """policies.json."""

    schema_version: Literal[1]
    model_sha256: str | None = None  # of deployed.json
    cost: dict[str, Any] | None = None
    policies: Annotated[list[CalibratedEntry], Field(min_length=1, max_length=10_000)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        exits, scoring = self.require_exits(), self.scoring
        if self.cost is not None:
            _check_cost(self.cost, exits)
        for policy in self.policies:
            policy.policy(scoring)
        selected = [policy.name for policy in self.policies if policy.selected]
        if len(selected) != 1:
            raise ValueError(f"exactly one policy must be selected; {len(selected)} are: {', '.join(selected)}")
        return self


def _check_cost(cost: dict[str, Any], exits: list[str]) -> None:
    """Raise ValueError where `cost` does not hold the times of these exits."""
    try:
        costs = costs_from_json(cost)
    except (KeyError, TypeError, ValueError) as error:
        problem = f"{error.args[0]!s} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"cost must hold unit ms and each exit's segment and head: {problem}") from None
    if costs.unit != MS:
        raise ValueError(f"cost is for times: its unit must be ms, and is {costs.unit}; leave it out for MACs")
    if costs.n_exits != len(exits):
        raise ValueError(f"cost has {costs.n_exits} exits, the policies have {len(exits)}")


SCHEMA_VERSION = 1
DEPLOYED_KEYS = ("name", "method", "target", "rule", "arguments", "thresholds", "feasible", "reason", "selected")


def write_policies(path: Path, content: Policies) -> None:
    """Write policies.json; the steps of a certificate take one line each."""
    value: dict[str, Any] = {"schema_version": SCHEMA_VERSION} | scoring_to_json(content.scoring)
    if content.costs is not None:
        value["cost"] = content.costs.to_json(content.exits)
    value["policies"] = [_to_json(policy, content) for policy in content.policies]
    write_text(path, _indented(value) + "\n")


def _indented(value: Any, margin: str = "\n") -> str:
    """Return JSON indented by two spaces a level, each step of a certificate on one line."""
    if isinstance(value, CertificateStep):
        return json.dumps(value.to_json(), allow_nan=False)
    inner = margin + "  "
    if value and isinstance(value, Mapping):
        pairs = (f"{json.dumps(key, ensure_ascii=False)}: {_indented(part, inner)}" for key, part in value.items())
        return "{" + inner + f",{inner}".join(pairs) + margin + "}"
    if value and isinstance(value, list | tuple):
        return "[" + inner + f",{inner}".join(_indented(part, inner) for part in value) + margin + "]"
    return json.dumps(value, allow_nan=False, ensure_ascii=False)


def write_deployed(path: Path, content: Policies, names: Sequence[str], model_sha256: str | None) -> None:
    """Write deployed.json: of policies.json the selected policy and those named, as far as they decide where to exit.

    It has the form of policies.json without certificates and figures, so that what depends on it changes only when
    the policies themselves do. Names that policies.json does not hold (`full`, `cutoff@X`) are constructed where they
    are used. `model_sha256` is that of the network, None where the logit cache does not state it.
    """
    value: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "model_sha256": model_sha256,
        "score": content.scoring.score,
        "temperature": content.scoring.temperature,
        "score_arguments": content.scoring.arguments,
    }
    policies = [policy for policy in content.policies if policy is content.selected or policy.name in names]
    entries = [_to_json(policy, content) for policy in policies]
    value["policies"] = [{key: entry[key] for key in entry if key in DEPLOYED_KEYS} for entry in entries]
    write_json(path, {key: item for key, item in value.items() if item is not None})


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
    scoring = content.scoring
    policies = [entry.policy(scoring) for entry in content.policies]
    selected = next(policy for policy, entry in zip(policies, content.policies, strict=True) if entry.selected)
    costs = None if content.cost is None else costs_from_json(content.cost)
    return Policies(scoring, policies, selected, costs)


def scoring_to_json(scoring: Scoring) -> dict[str, Any]:
    """Return the keys of a scoring in a file: score, temperature and, where it was fitted, score_arguments."""
    fitted = {} if scoring.arguments is None else {"score_arguments": scoring.arguments}
    return {"score": scoring.score, "temperature": scoring.temperature} | fitted


def thresholds_to_json(policy: Policy, exits: Sequence[str]) -> dict[str, float | str | None]:
    """Return the thresholds of a policy by exit, infinity as "inf"."""
    return dict(zip(exits, ["inf" if t == inf else t for t in policy.thresholds], strict=True))


def _to_json(policy: Policy, content: Policies) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": policy.name, "method": policy.method, "target": policy.target}
    entry |= rule_to_json(policy.rule)
    entry["thresholds"] = thresholds_to_json(policy, content.exits)
    entry["feasible"] = policy.feasible
    if not policy.feasible:
        entry["reason"] = policy.reason
    optional = {"nearest": policy.nearest, "labels_needed": policy.labels_needed}
    entry |= {key: number for key, number in optional.items() if number is not None}
    entry |= {"selected": policy is content.selected, "validation": policy.validation}
    certificate = None if policy.certificate is None else policy.certificate.to_json()
    proofs = {"certificate": certificate, "expectation": policy.expectation}
    return entry | {key: proof for key, proof in proofs.items() if proof is not None}


def _refuse_constant(name: str) -> None:
    raise ValueError(f'{name} is not JSON; write "inf" for "everyone leaves", null for a disabled exit')


FromJson = Callable[[Mapping[str, Any] | None], Rule]
RULES: dict[str, FromJson] = {Batch.name: Batch.from_json, Rule.name: Rule.from_json}
RULES |= {name: partial(route_rule, name) for name in ROUTES}


def rule_from_json(name: str, arguments: Mapping[str, Any] | None) -> Rule:
    """Return a rule of policies.json. Raises ValueError for an unknown name, listing the known, and wrong arguments."""
    if name not in RULES:
        raise ValueError(f"unknown rule {name!r}; known: {', '.join(sorted(RULES))}")
    return RULES[name](arguments)


def rule_to_json(rule: Rule) -> dict[str, Any]:
    """Return the keys `rule` and `arguments` of policies.json; none for `threshold`: their absence says so."""
    if rule == THRESHOLD:
        return {}
    return {"rule": rule.name} | ({"arguments": rule.arguments} if rule.arguments else {})
