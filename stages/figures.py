"""Draw plots/figures/*.png and .svg from the tables, the test logits and the prepared test images."""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from offramp.costs import read_costs
from offramp.evaluation import read_test
from offramp.figures.classes import draw_classes
from offramp.figures.depth import draw_depth
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
    policies = read_policies(Path("metrics/policies.json"))
    costs = policies.scoring.costs(read_costs(Path("metrics/costs.json")))
    outcomes = read_test(Path("data/logits/test.parquet"), policies, costs)
    result = replay(outcomes, policies.selected, costs)
    rows = gallery_rows(outcomes, result)
    positions = [position for row in rows for position in row]
    images = images_of(read_split(Path("data/prepared/test.parquet")), outcomes.sample[positions])
    shown = dict(zip(positions, images, strict=True))
    draw_all(
        (draw_exits, PLOTS / "exits.csv"),
        (draw_tradeoff, PLOTS / "tradeoff.csv"),
        (draw_uncertainty, outcomes, policies),
        (draw_reliability, PLOTS / "reliability.csv", Path("metrics/reliability.json")),
        (draw_gallery, shown, rows, outcomes, result, policies.selected.name),
        (draw_depth, PLOTS / "depth.csv", PLOTS / "depth_exits.csv", policies),
        (draw_guarantees, PLOTS / "guarantees.csv"),
        (draw_sweep, PLOTS / "sweep.csv", Path("metrics/sweep.json")),
        (draw_classes, PLOTS / "classes.csv", policies),
        (draw_difficulty, PLOTS / "difficulty.csv", policies),
        (draw_training, PLOTS / "training.csv"),
    )
    print(f"{len(list(FIGURES.glob('*.png')))} figures in {FIGURES}")


def draw_all(*drawings: tuple[Any, ...]) -> None:
    """Draw every (function, arguments…), the slowest first, two at a time: this is most of what a new target takes."""
    with ProcessPoolExecutor(max_workers=2) as pool:
        for future in [pool.submit(draw, FIGURES, *arguments) for draw, *arguments in drawings]:
            future.result()


if __name__ == "__main__":
    run(main)
