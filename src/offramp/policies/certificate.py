"""A certificate in policies.json as one frozen model, which its writer, its reader and `offramp.check` share.

The model settles the shape: keys, types, sizes, finite numbers. Whether a certificate is true is what `offramp.check`
answers.
"""

import math
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, model_serializer, model_validator
from pydantic_core import PydanticCustomError

from offramp.policies.costs import LARGEST, MACS, MS, Costs, from_parts
from offramp.project.files import significant

LARGEST_THRESHOLD = 1e100
P_VALUE_DIGITS = 12  # significant: the last bits differ between processors, and with them every policies.json would
LARGEST_EXIT = 10_000
LARGEST_CHAIN = 10_000  # steps; the chains of the library have at most 1,000
COUNTS = r"^(damaged|rescued|unlabelled|correct|(samples|correct)_exit_[1-9][0-9]{0,4})$"

Count = Annotated[int, Field(ge=0, lt=2**53)]
Share = Annotated[float, Field(ge=0, le=1)]
Open = Annotated[float, Field(gt=0, lt=1)]
Cost = Annotated[float, Field(ge=0, le=LARGEST)]
PerExit = Annotated[tuple[Cost, ...], Field(strict=False, max_length=LARGEST_EXIT)]  # not strict: JSON has lists alone


def _threshold(value: Any) -> float | None:
    """Return a threshold of the file as a number: "inf" is infinity, null a disabled exit."""
    if value is None or value == "inf":
        return None if value is None else math.inf
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST_THRESHOLD:
        raise PydanticCustomError("must_be", 'must be a finite number, "inf" or null')
    return float(value)


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class CertificateStep(_Part):
    """One tested candidate: its thresholds (exits,), its counts on the certify rows, their p-value.

    In JSON each count is a key of the step, next to the other two.
    """

    thresholds: Annotated[
        tuple[Annotated[float | None, PlainValidator(_threshold)], ...], Field(strict=False, max_length=LARGEST_EXIT)
    ]
    counts: dict[Annotated[str, Field(pattern=COUNTS)], Count]
    p_value: Share

    @model_validator(mode="before")
    @classmethod
    def _gather_counts(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        own = {key: given[key] for key in ("thresholds", "p_value") if key in given}
        return own | {"counts": {key: number for key, number in given.items() if key not in own}}

    @model_serializer
    def to_json(self) -> dict[str, Any]:
        thresholds = ["inf" if threshold == math.inf else threshold for threshold in self.thresholds]
        return {"thresholds": thresholds, **self.counts, "p_value": significant(self.p_value, P_VALUE_DIGITS)}


class CertificateFold(_Part):
    rows: Count
    sha256: str  # of the sample ids


class CertificateFolds(_Part):
    fold_seed: Count
    tune_fraction: Open
    tune: CertificateFold
    certify: CertificateFold


class CertificateSearch(_Part):
    """What the tune fold chose a route from; `start` counts exits from 1."""

    route: str
    start: Annotated[int, Field(ge=1, le=LARGEST_EXIT)] | Literal["auto"]
    cuts: Annotated[int, Field(ge=2, le=1000)]
    placement: Share | None = None


class CertificateCosts(_Part):
    """The costs that thinned the chain, of segments and heads or cumulative; in MACs, or in ms where `unit` says so."""

    unit: Literal["ms"] | None = None
    segment: PerExit | None = None
    head: PerExit | None = None
    cumulative: PerExit | None = None
    full: Annotated[float, Field(gt=0, le=LARGEST)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        segment, head = self.segment, self.head
        if self.cumulative is None and (segment is None or head is None or len(segment) != len(head)):
            raise ValueError("costs of a certificate need segment and head of equal length, or cumulative")
        return self

    @classmethod
    def of(cls, costs: Costs) -> Self:
        unit: Literal["ms"] | None = "ms" if costs.measured else None
        if costs.segment is None or costs.head is None:
            return cls(unit=unit, cumulative=tuple(costs.cumulative.tolist()), full=costs.full)
        return cls(unit=unit, segment=tuple(costs.segment.tolist()), head=tuple(costs.head.tolist()), full=costs.full)

    @property
    def costs(self) -> Costs:
        unit = MACS if self.unit is None else MS
        if self.segment is not None and self.head is not None:
            return from_parts(unit, self.segment, self.head)
        return Costs(unit, np.asarray(self.cumulative, np.float64), self.full)


class Certificate(_Part):
    """The proof of a policy: all that its derivation from the validation cache needs, and what that has to give."""

    statement: str
    hypothesis: str
    test: str
    n: Count
    delta: Open
    level: Open
    looks: Annotated[Count, Field(ge=1)]
    several: str
    labels_used: Count
    folds: CertificateFolds
    family: str
    without_dear_exits: bool = False
    search: CertificateSearch | None = None
    costs: CertificateCosts
    declared: Count
    returned: Count
    steps: Annotated[tuple[CertificateStep, ...], Field(strict=False, min_length=1, max_length=LARGEST_CHAIN)]
    assumptions: Annotated[tuple[str, ...], Field(strict=False)]

    @property
    def returned_step(self) -> CertificateStep:
        """Return the step whose candidate is the policy; the nearest there is where `returned` says none."""
        return self.steps[min(max(self.returned, 1), len(self.steps)) - 1]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object, in the order of the file; `steps` are still of this model."""
        return self.model_dump(mode="json", exclude_defaults=True) | {"steps": list(self.steps)}
