"""Draw plots/figures/*.png and .svg from the tables, the test logits and the prepared test images."""

from pathlib import Path

from offramp.costs import read_costs
from offramp.evaluation import read_test
from offramp.figures.classes import draw_classes
from offramp.figures.exits import draw_exits
from offramp.figures.guarantees import draw_guarantees
from offramp.figures.reliability import draw_reliability
from offramp.figures.samples import draw_difficulty, draw_gallery, gallery_rows
from offramp.figures.sweep import draw_sweep
from offramp.figures.tradeoff import draw_tradeoff
from offramp.figures.training import draw_training
from offramp.figures.uncertainty import draw_uncertainty
from offramp.policies import read_policies
from offramp.prepared import images_of, read_split
from offramp.replay import replay
from offramp.stage import run

PLOTS = Path("plots")
FIGURES = PLOTS / "figures"


def main() -> None:
    draw_tradeoff(FIGURES, PLOTS / "tradeoff.csv")
    draw_exits(FIGURES, PLOTS / "exits.csv")
    draw_guarantees(FIGURES, PLOTS / "guarantees.csv")
    draw_sweep(FIGURES, PLOTS / "sweep.csv", Path("metrics/sweep.json"))
    draw_reliability(FIGURES, PLOTS / "reliability.csv", Path("metrics/reliability.json"))
    draw_training(FIGURES, PLOTS / "training.csv")
    policies = read_policies(Path("metrics/policies.json"))
    draw_classes(FIGURES, PLOTS / "classes.csv", policies)
    draw_difficulty(FIGURES, PLOTS / "difficulty.csv", policies)
    costs = policies.scoring.costs(read_costs(Path("metrics/costs.json")))
    outcomes = read_test(Path("data/logits/test.parquet"), policies, costs)
    draw_uncertainty(FIGURES, outcomes, policies)
    result = replay(outcomes, policies.selected.thresholds, costs)
    rows = gallery_rows(outcomes, result)
    positions = [position for row in rows for position in row]
    images = images_of(read_split(Path("data/prepared/test.parquet")), outcomes.sample[positions])
    draw_gallery(FIGURES, dict(zip(positions, images, strict=True)), rows, outcomes, result, policies.selected.name)
    print(f"{len(list(FIGURES.glob('*.png')))} figures in {FIGURES}")


if __name__ == "__main__":
    run(main)
