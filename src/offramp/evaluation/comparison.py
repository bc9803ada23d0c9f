"""One policy's replay against the full network's and against the selected policy's, sample by sample."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offramp.bootstrap import Floats, bootstrap_means
from offramp.evaluation.tables import Row
from offramp.intervals import paired_loss, simultaneous
from offramp.replay import Replay

Ints = NDArray[np.int64]
ANSWERS = 3  # rescued, unchanged, damaged: a loss of −1, 0 or 1


@dataclass(frozen=True)
class Comparison:
    """Replays of a policy, of the full network and of the selected policy, on the same samples."""

    policy: Replay
    full: Replay
    selected: Replay

    def loss(self) -> Row:
        """Return the loss with Tango's paired interval."""
        return paired_row(*_changed(self.full.correct, self.policy.correct), len(self.policy.taken))

    def bootstrap(self) -> tuple[Row, Row]:
        """Return intervals of loss and cost ratio, and how both differ from the selected policy's, with intervals.

        All from the same resamples: a cell is where a sample leaves and what it loses under either policy.
        """
        n_exits = len(self.policy.cost_at_exits)
        mine, its = self._cells(self.policy), self._cells(self.selected)
        n_cells = n_exits * ANSWERS
        joint = np.bincount(mine * n_cells + its, minlength=n_cells**2)
        cells = np.flatnonzero(joint)
        my_values, its_values = _values(self.policy)[cells // n_cells], _values(self.selected)[cells % n_cells]
        values = np.concatenate([my_values, my_values - its_values], axis=1)
        counts = joint[cells]
        means = values.T @ counts / counts.sum()
        loss, ratio, more_loss, more_cost = bootstrap_means(values, counts).tolist()
        name = self.policy.ratio
        own = {
            "loss_bootstrap_low": loss[0],
            "loss_bootstrap_high": loss[1],
            f"{name}_low": ratio[0],
            f"{name}_high": ratio[1],
        }
        against = {"loss": float(means[2]), "loss_low": more_loss[0], "loss_high": more_loss[1]}
        against |= {name: float(means[3]), f"{name}_low": more_cost[0], f"{name}_high": more_cost[1]}
        return own, against

    def classes(self, label: Ints, names: list[str]) -> list[Row]:
        """Return one row per class with samples; their paired intervals hold together, for all these classes.

        `label` is (samples,), `names` are those of the classes.
        """
        n = len(names)
        full_right, right = self.full.correct, self.policy.correct
        samples = np.bincount(label, minlength=n)
        was_right, is_right = np.bincount(label[full_right], minlength=n), np.bincount(label[right], minlength=n)
        damaged = np.bincount(label[full_right & ~right], minlength=n)
        cost = np.bincount(label, self.policy.cost_at_exits[self.policy.taken], minlength=n)
        level = simultaneous(int((samples > 0).sum()))
        rows = []
        for c in np.flatnonzero(samples):
            total, lost = int(samples[c]), int(damaged[c])
            row: Row = {"class": names[c], "samples": total}
            row |= {"full_accuracy": int(was_right[c]) / total, "accuracy": int(is_right[c]) / total}
            row |= paired_row(lost, lost - int(was_right[c] - is_right[c]), total, level)
            rows.append(row | {self.policy.ratio: float(cost[c] / total / self.policy.full_cost)})
        return rows

    def _cells(self, result: Replay) -> Ints:
        lost = self.full.correct.astype(np.int64) - result.correct
        return np.asarray(result.taken * ANSWERS + lost + 1, np.int64)


def paired_row(damaged: int, rescued: int, total: int, level: float = 0.95) -> Row:
    low, high = paired_loss(damaged, rescued, total, level)
    return {"loss": (damaged - rescued) / total, "loss_low": low, "loss_high": high}


def worst_class(rows: list[Row]) -> Row:
    """Return the class that loses most, the first of equals; its interval allows for having picked it."""
    worst = max(rows, key=lambda row: row["loss"])
    row: Row = {"worst_class": worst["class"]}
    return row | {f"worst_class_{key}": worst[key] for key in ("loss", "loss_low", "loss_high")}


def _changed(full: NDArray[np.bool_], policy: NDArray[np.bool_]) -> tuple[int, int]:
    return int((full & ~policy).sum()), int((~full & policy).sum())


def _values(result: Replay) -> Floats:
    """Return what a sample of each cell adds to loss and cost ratio, (cells, 2)."""
    n_exits = len(result.cost_at_exits)
    loss = np.tile(np.arange(ANSWERS) - 1.0, n_exits)
    return np.stack([loss, np.repeat(result.cost_at_exits / result.full_cost, ANSWERS)], axis=1)
