"""Logits of samples of graded difficulty, whose later exits are better."""

import numpy as np

CLASSES = 4


def graded_logits(seed, n, strength):
    """Return logits (n, exits, 4) and labels; `strength` (exits,) is what the easiest sample's label gets."""
    rng = np.random.default_rng(seed)
    label, ease = rng.integers(0, CLASSES, n), rng.random(n)
    logits = rng.normal(size=(n, len(strength), CLASSES))
    logits[np.arange(n), :, label] += np.outer(ease, strength)
    return logits.astype(np.float32), label
