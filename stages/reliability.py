"""Fit temperatures on the tune fold, measure calibration errors on test: metrics/reliability.json and its table."""

from pathlib import Path

from offramp.cache.params import Folds
from offramp.evaluation.reliability import describe, write_reliability
from offramp.project.sections import StageParams
from offramp.project.stage import run


class Params(StageParams):
    calibrate: Folds = Folds()


def main() -> None:
    folds = Params.read().calibrate
    result = write_reliability(
        Path("data/logits/val.parquet"),
        Path("data/logits/test.parquet"),
        Path("metrics/reliability.json"),
        Path("plots/reliability.csv"),
        folds.tune_fraction,
        folds.fold_seed,
    )
    print(describe(result))


if __name__ == "__main__":
    run(main)
