"""Evaluation: every policy replayed on the test split, with intervals and baselines.

Owns metrics/evaluation.json and plots/{tradeoff,exits,classes,guarantees,difficulty}.csv. All intervals are 95 %:
Wilson's for accuracies, Tango's paired one for the loss against the full network, a paired bootstrap for costs and for
differences between policies. Where a policy has rule `batch`, the samples of a batch are decided together and are
dependent: its costs, and all differences, have a bootstrap of whole batches, and its accuracies and losses the hull of
that and of the interval above.
"""

from offramp.evaluation.results import (
    Report,
    describe,
    evaluate,
    measure,
    read_test,
    write_classes,
    write_evaluation,
    write_exits,
    write_guarantees,
    write_tradeoff,
)
from offramp.evaluation.tables import MEGA, exit_table, write_difficulty

__all__ = [
    "MEGA",
    "Report",
    "describe",
    "evaluate",
    "exit_table",
    "measure",
    "read_test",
    "write_classes",
    "write_difficulty",
    "write_evaluation",
    "write_exits",
    "write_guarantees",
    "write_tradeoff",
]
