"""Images of the tune fold: what may shape a network or a score without being seen by a certificate."""

import numpy as np

from offramp.errors import InputError
from offramp.folds import in_tune
from offramp.prepared import Images, Split, read_batches

BATCH = 256  # rows decoded at once


def first_tune_images(validation: Split, number: int, tune_fraction: float, fold_seed: int) -> Images:
    """Return the first images (≤ number, height, width, channels) of the validation split that are in its tune fold.

    All of them where the fold has fewer. Raises InputError where it is empty.
    """
    parts: list[Images] = []
    found = 0
    for sample, images, _ in read_batches(validation, BATCH):
        part = images[in_tune(sample, tune_fraction, fold_seed)][: number - found]
        parts.append(part)
        found += len(part)
        if found == number:
            break
    if not found:
        raise InputError(
            f"none of the {validation.rows} rows of {validation.path} is in the tune fold, whose images int8 is "
            "calibrated on; raise calibrate.tune_fraction in params.yaml"
        )
    return np.concatenate(parts)
