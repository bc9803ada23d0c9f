"""Evaluation: every policy replayed on the test split, with intervals and baselines.

Owns metrics/{evaluation,summary}.json and the tables of the root figures in plots/. Intervals are 95 %: Wilson's for
accuracies, Tango's paired one for the loss against the full network, a paired bootstrap for costs and differences.
Where a policy has rule `batch`, samples of a batch are dependent: costs and differences then have a bootstrap of whole
batches, accuracies and losses the hull of that and of the interval above.
"""
