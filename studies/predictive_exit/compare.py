"""Predictive Exit from cached logits: all routes at equal accuracy; metrics/predictive.json and plots/predictive/."""

from pathlib import Path

from offramp.cache.reading import open_cache
from offramp.calibration.params import Calibrate, Uncertainty
from offramp.figures.style import set_source
from offramp.policies.costs import read_costs
from offramp.project.sections import Seed, StageParams
from offramp.project.stage import run
from studies.predictive_exit.figures import draw_predictive
from studies.predictive_exit.material import Fold
from studies.predictive_exit.params import Predictive
from studies.predictive_exit.results import (
    NOTHING,
    compare_all,
    describe,
    material_of,
    plan_of,
    write_comparison,
    write_nothing,
)

METRICS, PLOTS = Path("metrics"), Path("plots/predictive")
RESULT = METRICS / "predictive.json"
STUDY = Path("studies/predictive_exit/params.yaml")


class Params(StageParams):
    seed: Seed
    uncertainty: Uncertainty = Uncertainty()
    calibrate: Calibrate = Calibrate()
    predictive: Predictive = Predictive()


def main() -> None:
    params = Params.read(STUDY)
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
    set_source(test.metadata.get("dataset", ""), test.metadata.get("model", ""))
    draw_predictive(PLOTS)


if __name__ == "__main__":
    run(main)
