"""Quantise the exported network to INT8, calibrated on images of the tune fold: models/network_int8.onnx."""

from pathlib import Path

import onnx

from offramp.cache.params import Folds
from offramp.data.prepared import read_split
from offramp.project.files import replacing
from offramp.project.sections import StageParams
from offramp.project.stage import run
from offramp.runtime.engines import open_graph
from offramp.runtime.int8.quantising import first_tune_images, quantise
from offramp.runtime.params import Int8

QUANTISED = Path("models/network_int8.onnx")


class Params(StageParams):
    int8: Int8
    calibrate: Folds = Folds()


def main() -> None:
    params = Params.read()
    folds = params.calibrate
    split = read_split(Path("data/prepared/val.parquet"))
    images = first_tune_images(split, params.int8.images, folds.tune_fraction, folds.fold_seed)
    model = quantise(open_graph("onnx"), images, params.int8.heads)
    with replacing(QUANTISED) as temporary:
        onnx.save(model, temporary)
    print(f"{QUANTISED}: {QUANTISED.stat().st_size / 1e6:.1f} MB, heads in {params.int8.heads}, {len(images)} images")


if __name__ == "__main__":
    run(main)
