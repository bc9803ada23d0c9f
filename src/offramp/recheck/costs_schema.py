"""Costs as a stranger may have written them: those that a certificate states, and tables in files, strictly."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from offramp.recheck.rule_schema import Count, Strict

Cost = Annotated[float, Field(ge=0, le=1e100)]
FullCost = Annotated[float, Field(ge=1e-100, le=1e100)]


class StatedCosts(Strict):
    """Costs of segments and heads, or what a sample pays up to each exit; `full`: the network without side exits.

    In MACs, or in ms where `unit` says so.
    """

    unit: Literal["ms"] | None = None
    full: FullCost
    segment: list[Cost] | None = None
    head: list[Cost] | None = None
    cumulative: list[Cost] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        parts = self.segment is not None and self.head is not None and len(self.segment) == len(self.head)
        if not parts and self.cumulative is None:
            raise ValueError("costs need segment and head of equal length, or cumulative")
        return self


class CostsRow(Strict):
    segment: Cost | None = None
    head: Cost | None = None
    cumulative: Cost | None = None


class CostsFile(Strict):
    """A table of costs; `full` may be missing where every exit has segment and head."""

    unit: Literal["macs", "ms"]
    exits: Annotated[dict[str, CostsRow], Field(min_length=1)]
    full: FullCost | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = {f"exit_{number}" for number in range(1, len(self.exits) + 1)}
        if set(self.exits) != names:
            raise ValueError("exits must be exit_1 … exit_E")
        rows = self.exits.values()
        parts = all(row.segment is not None and row.head is not None for row in rows)
        if not parts and (self.full is None or any(row.cumulative is None for row in rows)):
            raise ValueError("every exit needs segment and head, or every exit cumulative and the table full")
        return self

    def stated(self) -> StatedCosts:
        """Return these costs as a certificate would state them."""
        rows = [self.exits[f"exit_{number}"] for number in range(1, len(self.exits) + 1)]
        segment = [row.segment for row in rows if row.segment is not None]
        head = [row.head for row in rows if row.head is not None]
        unit: Literal["ms"] | None = "ms" if self.unit == "ms" else None
        if len(segment) == len(head) == len(rows):
            return StatedCosts(unit=unit, full=sum(segment) + head[-1], segment=segment, head=head)
        assert self.full is not None, "a table has parts or full"
        cumulative = [row.cumulative for row in rows if row.cumulative is not None]
        return StatedCosts(unit=unit, full=self.full, cumulative=cumulative)


class Times(CostsFile):
    """`cost` of policies.json: the times that calibration minimised, and which row of latency.json they are."""

    unit: Literal["ms"]
    engine: str = ""
    batch_size: Count = 0

    @property
    def row(self) -> str:
        return f"{self.engine}, batch {self.batch_size}"
