"""Inputs shared by all calibration methods, cached."""

import math
from dataclasses import dataclass
from functools import cached_property

from offramp.calibration.certificates.chains import FAMILIES
from offramp.calibration.folds import Certify, Tune, deal
from offramp.calibration.joint_search import Joint
from offramp.calibration.routes import Routes
from offramp.calibration.settings import Settings
from offramp.policies.costs import Costs
from offramp.policies.outcomes import Outcomes
from offramp.policies.policy import Policy, full_network


@dataclass(frozen=True)
class Problem:
    """Outcomes of the validation split, the costs to lower, and the settings."""

    outcomes: Outcomes
    costs: Costs
    settings: Settings
    looks: int = 1  # hypotheses that are tested on the same certify rows: chains times targets

    @property
    def level(self) -> float:
        """Return the chance of error that one certificate may take."""
        return self.settings.delta / self.looks if self.settings.simultaneous else self.settings.delta

    def validation_rows(self, certify_rows: int | None) -> int | None:
        """Return about how many validation rows hold so many certify rows; None for None."""
        return None if certify_rows is None else math.ceil(certify_rows / (1 - self.settings.tune_fraction))

    @property
    def full(self) -> Policy:
        """Return the full network as a policy: all side exits are disabled."""
        return Policy(full_network(self.outcomes.n_exits))

    @property
    def tune(self) -> Tune:
        return self._folds[0]

    @property
    def certify(self) -> Certify:
        return self._folds[1]

    @cached_property
    def _folds(self) -> tuple[Tune, Certify]:
        return deal(self.outcomes, self.settings.tune_fraction, self.settings.fold_seed)

    @cached_property
    def chain(self) -> list[Policy]:
        """Return the declared candidates from safe to cheap, shaped by the tune fold alone."""
        return FAMILIES[self.settings.family](self.tune, self.costs, self.settings.score)

    @cached_property
    def routes(self) -> Routes:
        return Routes(self.tune.rows, self.certify.rows, self.costs, self.settings.predictive)

    @cached_property
    def joint(self) -> Joint:
        return Joint(self.outcomes, self.costs)
