"""Predictive Exit from cached logits: all routes at equal accuracy; metrics/predictive.json and plots/predictive/."""

from pathlib import Path

from offramp.cache.reading import open_cache
from offramp.costs import read_costs
from offramp.figures.predictive import draw_predictive
from offramp.params.calibration import Calibrate, Uncertainty
from offramp.params.predictive import Predictive
from offramp.params.reading import Seed, StageParams
from offramp.predictive.material import Fold
from offramp.predictive.results import NOTHING, compare_all, describe, write_comparison, write_nothing
from offramp.predictive.setting_up import material_of, plan_of
from offramp.stage import run

METRICS, PLOTS = Path("metrics"), Path("plots/predictive")
RESULT = METRICS / "predictive.json"


class Params(StageParams):
    seed: Seed
    uncertainty: Uncertainty = Uncertainty()
    calibrate: Calibrate = Calibrate()
    predictive: Predictive = Predictive()


def main() -> None:
    params = Params.read()
    val, test = (open_cache(Path(f"data/logits/{split}.parquet")) for split in ("val", "test"))
    if len(val.exits) == len(test.exits) == 1:
        print(NOTHING)
        write_nothing(RESULT, PLOTS)
    else:
        costs = read_costs(METRICS / "costs.json")
        folds, score = params.calibrate, params.uncertainty
        fold = Fold(folds.tune_fraction, folds.fold_seed)
        material = material_of(val, test, params.predictive, fold, score.score, score.temperature)
        plan = plan_of(params.predictive, params.seed, costs, METRICS / "latency.json", folds.latency.row)
        found = compare_all(material, costs, plan)
        write_comparison(found, RESULT, PLOTS)
        print(describe(found))
    draw_predictive(PLOTS)


if __name__ == "__main__":
    run(main)
