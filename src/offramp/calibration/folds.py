"""The two folds of the validation split: `tune` shapes candidates, `certify` tests them.

A row's fold depends on its sample id and `calibrate.fold_seed` alone, never on its place, its content or its label, so
that given the tune rows the certify rows are still independent draws. The two types keep them apart: what shapes a
chain takes `Tune`, what tests it takes `Certify`, and only `deal` makes them.
"""

from dataclasses import dataclass

from offramp.cache.folds import in_tune
from offramp.policies.outcomes import Outcomes


@dataclass(frozen=True)
class Tune:
    """Outcomes that may shape candidates."""

    rows: Outcomes


@dataclass(frozen=True)
class Certify:
    """Outcomes that may test candidates, and have shaped none."""

    rows: Outcomes


def deal(outcomes: Outcomes, tune_fraction: float, fold_seed: int) -> tuple[Tune, Certify]:
    """Return the two folds; either may be empty."""
    tune = in_tune(outcomes.sample, tune_fraction, fold_seed)
    return Tune(outcomes.take(tune)), Certify(outcomes.take(~tune))
