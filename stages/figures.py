"""Draw plots/figures/*.png from the tables of the other stages; images for the gallery come from the prepared ones."""

import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from offramp.figures.classes import draw_classes
from offramp.figures.exits import draw_exits
from offramp.figures.guarantees import draw_guarantees
from offramp.figures.reliability import draw_reliability
from offramp.figures.samples import draw_difficulty, draw_gallery
from offramp.figures.style import read_selected, set_source
from offramp.figures.sweep import draw_sweep
from offramp.figures.tradeoff import draw_tradeoff
from offramp.figures.training import draw_training
from offramp.figures.uncertainty import draw_uncertainty
from offramp.project.files import sha256
from offramp.project.sections import Chosen, StageParams
from offramp.project.stage import run

METRICS, PLOTS = Path("metrics"), Path("plots")
FIGURES = PLOTS / "figures"
TIMED = ("benchmark", "int8")  # what deployment/ measures of the policies in metrics/deployed.json


class Params(StageParams):
    data: Chosen
    model: Chosen


def main() -> None:
    params = Params.read()
    selected = read_selected(PLOTS / "tradeoff.csv", PLOTS / "guarantees.csv")
    draw_all(
        (params.data.name, params.model.name),
        (draw_exits, PLOTS / "exits.csv"),
        (draw_tradeoff, PLOTS / "tradeoff.csv"),
        (draw_uncertainty, PLOTS / "uncertainty.csv", selected),
        (draw_reliability, PLOTS / "reliability.csv", METRICS / "reliability.json"),
        (draw_gallery, PLOTS / "gallery.csv", Path("data/prepared/test.parquet"), selected),
        (draw_guarantees, PLOTS / "guarantees.csv"),
        (draw_sweep, PLOTS / "sweep.csv", METRICS / "sweep.json"),
        (draw_classes, PLOTS / "classes.csv", selected),
        (draw_difficulty, PLOTS / "difficulty.csv", selected),
        (draw_training, PLOTS / "training.csv"),
    )
    print(f"{len(list(FIGURES.glob('*.png')))} figures in {FIGURES}")
    if stale := _of_other_policies():
        print(f"of another policy or network: {', '.join(stale)}; `dvc repro -P` measures again")


def draw_all(source: tuple[str, str], *drawings: tuple[Any, ...]) -> None:
    """Draw every (function, arguments…), the slowest first, two at a time: this is most of what a new target takes."""
    with ProcessPoolExecutor(max_workers=2, initializer=set_source, initargs=source) as pool:
        for future in [pool.submit(draw, FIGURES, *arguments) for draw, *arguments in drawings]:
            future.result()


def _of_other_policies() -> list[str]:
    """Return the results of deployment/ whose policies or network are not those of metrics/deployed.json.

    They are no dependencies: this is a note, and what it reads changes nothing that is written.
    """
    deployed = sha256(METRICS / "deployed.json")
    stale = []
    for path in (METRICS / f"{name}.json" for name in TIMED):
        if path.exists() and json.loads(path.read_text(encoding="utf-8"))["about"].get("deployed_sha256") != deployed:
            stale.append(str(path))
    return stale


if __name__ == "__main__":
    run(main)
