"""The score `change`: the log-odds that an exit's answer is not the last exit's, from all exits so far.

It is fitted without labels, on tune rows, and its parameters are part of the policy. Because it compares an exit with
those before it, every head up to the last enabled exit has to run.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.special import log_expit, log_softmax

from offramp.project.errors import InputError
from offramp.scores.registry import Floats, Score, TuneRows, register
from offramp.scores.softmax import entropy, least_confidence
from offramp.statistics.logistic import fit_logistic

CHANGE = "change"
TOP = 3
LARGEST = 1e100  # of a weight in a file, so that sums stay finite
CONSTANT = 1e-9  # spread of a predictor that is the same for all samples but for rounding


@dataclass(frozen=True)
class Change:
    """Per side exit: weights of its predictors (raw, not standardised) and an intercept."""

    weights: tuple[tuple[float, ...], ...]
    intercepts: tuple[float, ...]

    def of_cache(self, logits: Floats) -> Floats:
        """Return log-odds (samples, exits) of logits (samples, exits, classes); 0 at the last exit."""
        values = np.zeros(logits.shape[:2])
        for k, features in enumerate(change_features(logits)):
            values[:, k] = self._log_odds(k, features)
        return values

    def at_exit(self, k: int, logits: Floats) -> Floats:
        """Return the log-odds (samples,) at exit `k` of the logits (samples, k + 1, classes) up to it."""
        if k == len(self.weights):
            return np.zeros(len(logits))
        *_, features = change_features(np.concatenate([logits, logits[:, -1:]], axis=1))  # the last exit has none
        return self._log_odds(k, features)

    def _log_odds(self, k: int, features: Floats) -> Floats:
        return features @ np.array(self.weights[k]) + self.intercepts[k]

    def fits(self, n_exits: int, n_classes: int) -> bool:
        """Return whether the parameters are for logits of these sizes."""
        wanted = [n_change_features(k, n_classes) for k in range(n_exits - 1)]
        return [len(weights) for weights in self.weights] == wanted

    def to_json(self, exits: Sequence[str]) -> dict[str, Any]:
        """Return what `from_json` takes."""
        rows = zip(self.weights, self.intercepts, strict=True)
        return {name: {"weights": list(w), "intercept": c} for name, (w, c) in zip(exits, rows, strict=False)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], exits: Sequence[str]) -> Self:
        """Return the parameters in a file. Raises ValueError where they do not fit the exits or are not finite."""
        side = exits[:-1]
        if not isinstance(content, Mapping) or list(content) != list(side):
            raise ValueError(f"the arguments of score 'change' must name the side exits {', '.join(side)}")
        weights, intercepts = [], []
        for name in side:
            try:
                row = [float(value) for value in content[name]["weights"]]
                intercept = float(content[name]["intercept"])
            except (KeyError, TypeError, ValueError, OverflowError):
                raise ValueError(f"{name} of score 'change' needs weights (numbers) and an intercept") from None
            if not (np.abs([*row, intercept]) <= LARGEST).all():
                raise ValueError(f"{name} of score 'change' has a weight that is not finite")
            weights.append(tuple(row))
            intercepts.append(intercept)
        return cls(tuple(weights), tuple(intercepts))


def fit_change(logits: Floats) -> Change:
    """Fit every side exit on logits (samples, exits, classes), without labels."""
    answers = logits.argmax(axis=2)
    weights, intercepts = [], []
    for k, features in enumerate(change_features(logits)):
        raw, intercept = fit_logistic(features, answers[:, k] != answers[:, -1], CONSTANT).raw()
        weights.append(tuple(raw.tolist()))
        intercepts.append(intercept)
    return Change(tuple(weights), tuple(intercepts))


def n_change_features(k: int, n_classes: int) -> int:
    return min(TOP, n_classes) + 2 + (3 if k else 0)


def change_features(logits: Floats) -> Iterator[Floats]:
    """Yield what each side exit is judged by, (samples, predictors), for logits (samples, exits, classes).

    Its largest log-probabilities, ln(1 − the largest) and entropy; from the second exit on also ln of the mean
    probability so far of its answer, the share of earlier exits that gave it, and its log-probability one exit before.
    """
    log_p = log_softmax(logits, axis=2)
    answers = logits.argmax(axis=2)
    rows = np.arange(len(logits))
    total = np.zeros((len(logits), logits.shape[2]))
    for k in range(logits.shape[1] - 1):
        total += np.exp(log_p[:, k])
        answer = answers[:, k]
        top = np.sort(log_p[:, k], axis=1)[:, ::-1][:, :TOP]
        columns = [top, log_expit(least_confidence(logits[:, k]))[:, None], entropy(logits[:, k])[:, None]]
        if k:
            agree = (answers[:, :k] == answer[:, None]).mean(axis=1)
            mean_p = np.log(total[rows, answer] / (k + 1))
            columns.append(np.stack([mean_p, agree, log_p[rows, k - 1, answer]], axis=1))
        yield np.concatenate(columns, axis=1)


def _fit(rows: TuneRows) -> Change:
    label, logits = rows.some()
    if len(label) == 0:
        raise InputError(f"{rows.source} has no row in the tune fold to fit the score {CHANGE!r} on")
    return fit_change(logits)


def _placeholder(n_exits: int, n_classes: int) -> Change:
    """Return weights of 0."""
    weights = tuple((0.0,) * n_change_features(k, n_classes) for k in range(n_exits - 1))
    return Change(weights, (0.0,) * len(weights))


register(
    Score(
        CHANGE,
        "log-odds that the last exit answers otherwise",
        fit=_fit,
        from_json=Change.from_json,
        placeholder=_placeholder,
        compares_exits=True,
        is_log_odds=True,
    )
)
