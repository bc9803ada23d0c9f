"""Evaluation: every policy replayed on the test split, with intervals and baselines.

Owns metrics/evaluation.json and plots/{tradeoff,exits,classes,guarantees,difficulty}.csv. All intervals are 95 %:
Wilson's for accuracies, Tango's paired one for the loss against the full network, a paired bootstrap for costs and for
differences between policies. Where a policy has rule `batch`, the samples of a batch are decided together and are
dependent: its costs, and all differences, have a bootstrap of whole batches, and its accuracies and losses the hull of
that and of the interval above.
"""
