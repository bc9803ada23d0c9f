"""Do probabilities mean what they say? Expected calibration error per exit, before and after temperature scaling.

Temperatures come from the tune fold of validation, errors from test: no row serves both. Owns metrics/reliability.json
and plots/reliability.csv.
Reference: Guo et al. (2017), On calibration of modern neural networks, ICML, sections 2 and 4.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from offramp.cache.reading import UNKNOWN, LogitCache, open_cache
from offramp.project.errors import InputError
from offramp.project.files import write_json
from offramp.project.tables import write_table
from offramp.scores.fitting import fit_scoring
from offramp.scores.scoring import Scoring

Floats = NDArray[np.float64]
BINS = 15  # of equal width, as in the reference
COLUMNS = ["exit", "temperature", "confidence_low", "confidence_high", "samples", "confidence", "accuracy"]


@dataclass(frozen=True)
class Reliability:
    """Sums over rows, per exit and bin of the largest probability (exits, BINS), and of −ln p(label) per exit."""

    samples: NDArray[np.int64]
    confidence: Floats
    correct: NDArray[np.int64]
    negative_log_likelihood: Floats  # (exits,)

    @classmethod
    def nothing(cls, n_exits: int) -> Self:
        counts = np.zeros((n_exits, BINS), np.int64)
        return cls(counts, np.zeros((n_exits, BINS)), counts.copy(), np.zeros(n_exits))

    def add(self, logits: Floats, label: NDArray[np.int64]) -> None:
        """Count rows in: scaled logits (samples, exits, classes), labels (samples,)."""
        log_p = log_softmax(logits, axis=2)
        answers, confidence = logits.argmax(axis=2), np.exp(log_p.max(axis=2))
        bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
        for k in range(logits.shape[1]):
            self.samples[k] += np.bincount(bins[:, k], minlength=BINS)
            self.confidence[k] += np.bincount(bins[:, k], confidence[:, k], BINS)
            self.correct[k] += np.bincount(bins[:, k][answers[:, k] == label], minlength=BINS)
        self.negative_log_likelihood[:] -= log_p[np.arange(len(label)), :, label].sum(axis=0)

    def expected_calibration_error(self) -> Floats:
        """Return Σ over bins of |confidence − accuracy|, weighted by the bins' shares of samples, (exits,)."""
        return np.asarray(np.abs(self.confidence - self.correct).sum(axis=1) / self.samples.sum(axis=1))

    def mean_negative_log_likelihood(self) -> Floats:
        return np.asarray(self.negative_log_likelihood / self.samples.sum(axis=1))


def reliability_of(cache: LogitCache, scorings: list[Scoring]) -> list[Reliability]:
    """Return the reliability of a labelled cache under the temperatures of each scoring, in one pass over its rows.

    Raises InputError for a label that is null.
    """
    measured = [Reliability.nothing(len(cache.exits)) for _ in scorings]
    for rows in cache.read():
        if (rows.label == UNKNOWN).any():
            raise InputError(f"{cache.path} has null labels; reliability needs every row's label")
        for reliability, scoring in zip(measured, scorings, strict=True):
            temperatures = np.array(list(scoring.temperature.values()))
            reliability.add(rows.logits.astype(np.float64) / temperatures[:, None], rows.label)
    return measured


def write_reliability(
    val: Path, test: Path, out: Path, table: Path | None, tune_fraction: float, fold_seed: int
) -> dict[str, Any]:
    """Fit temperatures on the tune fold of `val`, measure on `test`; write the JSON and the diagram's table.

    Raises InputError where the caches are of different networks.
    """
    tuned, held_out = open_cache(val), open_cache(test)
    if (tuned.exits, tuned.n_classes) != (held_out.exits, held_out.n_classes):
        raise InputError(f"{val} and {test} differ in exits or classes; they must be of one network")
    plain = Scoring.plain("entropy", tuned.exits)
    scaled = fit_scoring(tuned, "entropy", "per_exit", tune_fraction, fold_seed)
    before, after = reliability_of(held_out, [plain, scaled])
    result = _summary(scaled, before, after)
    write_json(out, result, digits=6)
    if table is not None:
        write_table(table, COLUMNS, [*_rows("none", plain, before), *_rows("per_exit", scaled, after)])
    return result


def describe(result: dict[str, Any]) -> str:
    lines = ["exit    temperature   expected calibration error: before   after"]
    for name, row in result["exits"].items():
        lines.append(f"{name:<8}{row['temperature']:>10.3f}{row['ece']:>37.4f}{row['ece_scaled']:>8.4f}")
    return "\n".join(lines)


def _summary(scaled: Scoring, before: Reliability, after: Reliability) -> dict[str, Any]:
    columns = {
        "ece": before.expected_calibration_error(),
        "ece_scaled": after.expected_calibration_error(),
        "nll": before.mean_negative_log_likelihood(),
        "nll_scaled": after.mean_negative_log_likelihood(),
    }
    exits = {
        name: {"temperature": scaled.temperature[name]} | {key: float(values[k]) for key, values in columns.items()}
        for k, name in enumerate(scaled.exits)
    }
    return {"rows": int(before.samples[0].sum()), "bins": BINS, "exits": exits}


def _rows(temperature: str, scoring: Scoring, measured: Reliability) -> list[dict[str, Any]]:
    """Return one row per exit and bin that holds a sample."""
    rows = []
    for k, name in enumerate(scoring.exits):
        for number in np.flatnonzero(measured.samples[k]):
            samples = int(measured.samples[k, number])
            rows.append(
                {
                    "exit": name,
                    "temperature": temperature,
                    "confidence_low": round(number / BINS, 6),
                    "confidence_high": round((number + 1) / BINS, 6),
                    "samples": samples,
                    "confidence": float(measured.confidence[k, number] / samples),
                    "accuracy": float(measured.correct[k, number] / samples),
                }
            )
    return rows
