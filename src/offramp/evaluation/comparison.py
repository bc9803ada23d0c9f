"""One policy's replay against the full network's and against the selected policy's, sample by sample.

Decisions of one batch are dependent: where a replay has batches, intervals come from a bootstrap of whole batches.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.evaluation.tables import Row, hull
from offramp.policies.replay import Replay
from offramp.statistics.bootstrap import Floats, bootstrap_clusters, bootstrap_means, cluster_sums
from offramp.statistics.intervals import paired_loss, simultaneous

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
ANSWERS = 3  # rescued, unchanged, damaged: a loss of −1, 0 or 1


@dataclass(frozen=True)
class Comparison:
    """Replays of a policy, of the full network and of the selected policy, on the same samples."""

    policy: Replay
    full: Replay
    selected: Replay

    def loss(self) -> Row:
        """Return the loss with Tango's paired interval; of batches, no narrower than their bootstrap."""
        return loss_row(self.full.correct, self.policy.correct, self.policy.batch)

    def bootstrap(self) -> tuple[Row, Row]:
        """Return intervals of loss and cost ratio, and how both differ from the selected policy's, with intervals.

        All from the same resamples: of rows, where a cell is what a sample costs and what it loses under either
        policy, or of batches; the differences are of batches where either policy has them.
        """
        (mine, my_values), (its, its_values) = self._cells(self.policy), self._cells(self.selected)
        cells, counts = np.unique(mine * len(its_values) + its, return_counts=True)
        own, other = my_values[cells // len(its_values)], its_values[cells % len(its_values)]
        values = np.concatenate([own, own - other], axis=1)
        means = values.T @ counts / counts.sum()
        intervals = bootstrap_means(values, counts)
        if self.policy.batch is not None:
            intervals[:2] = self._of_batches(self.policy.batch)[:2]
        either = joined(self.policy.batch, self.selected.batch)
        if either is not None:
            intervals[2:] = self._of_batches(either)[2:]
        loss, ratio, more_loss, more_cost = intervals.tolist()
        name = self.policy.ratio
        alone = {
            "loss_bootstrap_low": loss[0],
            "loss_bootstrap_high": loss[1],
            f"{name}_low": ratio[0],
            f"{name}_high": ratio[1],
        }
        against = {"loss": float(means[2]), "loss_low": more_loss[0], "loss_high": more_loss[1]}
        against |= {name: float(means[3]), f"{name}_low": more_cost[0], f"{name}_high": more_cost[1]}
        return alone, against

    def classes(self, label: Ints, names: list[str]) -> list[Row]:
        """Return one row per class with samples; their paired intervals hold together, for all these classes.

        `label` is (samples,), `names` are those of the classes.
        """
        n = len(names)
        full_right, right = self.full.correct, self.policy.correct
        samples = np.bincount(label, minlength=n)
        was_right, is_right = np.bincount(label[full_right], minlength=n), np.bincount(label[right], minlength=n)
        damaged = np.bincount(label[full_right & ~right], minlength=n)
        cost = np.bincount(label, self.policy.cost, minlength=n)
        level = simultaneous(int((samples > 0).sum()))
        of_batches = self._class_intervals(label, n, level)
        rows = []
        for c in np.flatnonzero(samples):
            total, lost = int(samples[c]), int(damaged[c])
            row: Row = {"class": names[c], "samples": total}
            row |= {"full_accuracy": int(was_right[c]) / total, "accuracy": int(is_right[c]) / total}
            row |= paired_row(lost, lost - int(was_right[c] - is_right[c]), total, level)
            if of_batches is not None:
                row |= _widened(row, of_batches[c].tolist())
            rows.append(row | {self.policy.ratio: float(cost[c] / total / self.policy.full_cost)})
        return rows

    def _class_intervals(self, label: Ints, n_classes: int, level: float) -> Floats | None:
        """Return intervals (classes, 2) of each class's loss, of batches; None where there are none."""
        if self.policy.batch is None:
            return None
        numbers, batch = np.unique(self.policy.batch, return_inverse=True)
        cell, shape = batch * n_classes + label, (len(numbers), n_classes)
        lost = self.full.correct.astype(np.float64) - self.policy.correct
        both = (np.bincount(cell, weights, len(numbers) * n_classes) for weights in (lost, np.ones_like(lost)))
        sums, held = (values.astype(np.float64).reshape(shape) for values in both)
        bounds = [(-1.0, 1.0)] * n_classes
        return bootstrap_clusters(sums, held, bounds, level)

    def _of_batches(self, batch: NDArray[np.intp]) -> Floats:
        """Return the intervals that `bootstrap` gives, (4, 2), from these batches."""
        columns, bounds = [], []
        for result in (self.policy, self.selected):
            shares = result.cost_levels[1] / result.full_cost
            lost = self.full.correct.astype(np.float64) - result.correct
            columns.append(np.stack([lost, result.cost / result.full_cost], axis=1))
            bounds += [(-1.0, 1.0), (float(shares.min()), float(shares.max()))]
        values = np.concatenate([columns[0], columns[0] - columns[1]], axis=1)
        bounds[2:] = [(a[0] - b[1], a[1] - b[0]) for a, b in zip(bounds[:2], bounds[2:], strict=True)]
        return bootstrap_clusters(*cluster_sums(values, batch), bounds)

    def _cells(self, result: Replay) -> tuple[Ints, Floats]:
        """Return each sample's cell, (samples,), and what it adds to loss and cost ratio, (cells, 2)."""
        lost = self.full.correct.astype(np.int64) - result.correct
        number, cost = result.cost_levels
        loss = np.tile(np.arange(ANSWERS) - 1.0, len(cost))
        values = np.stack([loss, np.repeat(cost / result.full_cost, ANSWERS)], axis=1)
        return np.asarray(number * ANSWERS + lost + 1, np.int64), values


def loss_row(reference: Mask, other: Mask, batch: NDArray[np.intp] | None = None) -> Row:
    """Return what `other` (samples,) loses against `reference`, both whether an answer is right, with its interval.

    Tango's; where `batch` numbers the batches that were decided together, no narrower than a bootstrap of these.
    """
    row = paired_row(*_changed(reference, other), len(reference))
    if batch is not None:
        lost = (reference.astype(np.float64) - other)[:, None]
        row |= _widened(row, bootstrap_clusters(*cluster_sums(lost, batch), [(-1.0, 1.0)])[0].tolist())
    return row


def _widened(row: Row, other: list[float]) -> Row:
    low, high = hull((row["loss_low"], row["loss_high"]), other)
    return {"loss_low": low, "loss_high": high}


def joined(one: NDArray[np.intp] | None, other: NDArray[np.intp] | None) -> NDArray[np.intp] | None:
    """Return the batches (samples,) that keep those of two replays whole; None: every sample is on its own.

    Both number consecutive samples of one order, so a joint batch ends where one of each ends.
    """
    if one is None or other is None:
        return other if one is None else one
    order = np.lexsort((other, one))
    ends = (np.diff(one[order]) != 0) & (np.diff(other[order]) != 0)
    numbers = np.empty(len(order), np.intp)
    numbers[order] = np.concatenate([[0], np.cumsum(ends)])
    return numbers


def paired_row(damaged: int, rescued: int, total: int, level: float = 0.95) -> Row:
    low, high = paired_loss(damaged, rescued, total, level)
    return {"loss": (damaged - rescued) / total, "loss_low": low, "loss_high": high}


def worst_class(rows: list[Row]) -> Row:
    """Return the class that loses most, the first of equals; its interval allows for having picked it."""
    worst = max(rows, key=lambda row: row["loss"])
    row: Row = {"worst_class": worst["class"]}
    return row | {f"worst_class_{key}": worst[key] for key in ("loss", "loss_low", "loss_high")}


def _changed(full: Mask, policy: Mask) -> tuple[int, int]:
    return int((full & ~policy).sum()), int((~full & policy).sum())
