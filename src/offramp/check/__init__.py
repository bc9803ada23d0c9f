"""The check of certificates: every one is derived again from the validation cache, and each of its steps confirmed.

A certificate is false only if folds, counts, p-values, level, stopping or choice are: these are written here a second
time and share nothing with `offramp.calibration`, so that an error must be made twice to pass. Scores, fits, chains and
routes are the shipped ones, run again on the tune rows.
"""

from pathlib import Path

from tqdm import tqdm

from offramp.cache.reading import open_cache
from offramp.check.certificate import Evidence, examine
from offramp.check.claims import METHODS, OVERALL, Claim
from offramp.check.fresh import MissingLabelsError, recheck_fresh
from offramp.check.report import Finding, FreshReport, Report, Verdict
from offramp.check.rows import read_rows
from offramp.check.steps import figure_findings
from offramp.policies.costs import Costs, read_costs
from offramp.policies.file import read_policies
from offramp.policies.outcomes import Outcomes
from offramp.policies.policy import Policies, Policy
from offramp.policies.replay import costs_under, require_same_exits
from offramp.policies.routes.rule import RouteRule
from offramp.policies.routes.walk import parts
from offramp.policies.rules import Batch
from offramp.project.errors import InputError

__all__ = ["Finding", "FreshReport", "MissingLabelsError", "Report", "recheck", "recheck_fresh"]


def recheck(policies_path: Path, val_path: Path, costs_path: Path | None = None) -> Report:
    """Return what becomes of every policy's certificate when it is derived again from the validation cache.

    Raises InputError for files that cannot be read, break their contract or do not fit each other.
    """
    content, cache = read_policies(policies_path), open_cache(val_path)
    costs = None if costs_path is None else _read_costs(costs_path, content)
    certificates = [policy.certificate for policy in content.policies if policy.certificate is not None]
    rows = read_rows(cache, content)
    if costs is not None:
        require_same_exits(rows, costs)
    known = costs or (certificates[0].costs.costs if certificates else content.costs)
    known = known and costs_under(content.scoring, known)
    if not certificates:  # so nothing says which rows chose a route
        verdicts = [_figures(policy, rows, None, known) for policy in content.policies]
        compared = known is not None or not any(verdict.findings for verdict in verdicts)
        return Report(verdicts, () if compared else ("costs were not compared; --costs does",))
    evidence = Evidence.of(content, cache, rows, certificates[0], costs)
    total = sum(len(certificate.steps) for certificate in certificates)
    with tqdm(total=total, desc="check", unit="step", disable=None, leave=False) as progress:
        verdicts = [
            _figures(policy, rows, evidence.certify, known)
            if policy.certificate is None
            else examine(policy, policy.certificate, evidence, progress.update)
            for policy in content.policies
        ]
    return Report(verdicts, () if costs else ("costs were taken from the certificates; --costs compares them",))


def _read_costs(path: Path, content: Policies) -> Costs:
    """Return the costs in a file; of times those that calibration minimised. Raises InputError for another unit."""
    costs, unit = read_costs(path, content.cost_row), "macs" if content.costs is None else "ms"
    if costs.unit != unit:
        raise InputError(f"{path} holds costs in {costs.unit}; the policies were calibrated for {unit}")
    if any(isinstance(policy.rule, RouteRule) for policy in content.policies):
        parts(costs)
    return costs


def _without_certificate(policy: Policy) -> Verdict:
    """Return that there is nothing to confirm; a certified method that is feasible but proves nothing is refuted."""
    if policy.method in METHODS and policy.feasible:
        text = f"method {policy.method} claims a guarantee, and there is no certificate of it"
        return Verdict(policy.name, [Finding(False, text)])
    return Verdict(policy.name, note=f"{policy.method} certifies nothing" if policy.feasible else "it is infeasible")


def _figures(policy: Policy, rows: Outcomes, certify: Outcomes | None, costs: Costs | None) -> Verdict:
    """Return the verdict on a policy without a certificate: the figures of a batch rule or a route are computed again.

    A batch rule was chosen on all rows, a route on those outside the tune fold, which a certificate names.
    """
    bare, batch = _without_certificate(policy), isinstance(policy.rule, Batch)
    own = rows if batch else certify if isinstance(policy.rule, RouteRule) else None
    if bare.findings or not policy.validation or own is None:
        return bare
    if costs is not None and (costs.n_exits != rows.n_exits or (costs.head is None and not batch)):
        costs = None
    findings = list(figure_findings(policy, own, costs, "validation rows" if batch else "certify rows"))
    if batch and policy.method == Batch.name and rows.labelled.all():
        accuracy = Claim(OVERALL, policy.target, 0.5).counts(rows, policy)["correct"] / len(rows)
        said = "feasible" if policy.feasible else "infeasible"
        text = f"it says that it is {said} for {policy.target:g}; the validation rows give {accuracy:.6g}"
        findings.append(Finding(policy.feasible == (accuracy >= policy.target), text))
    return Verdict(policy.name, findings, "its figures; nothing is proved")
