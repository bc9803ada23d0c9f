"""Ways to quantise the network, by accuracy on validation and time: results/quantisation/result.json.

Command: `python -m experiments.quantisation`, after `make repro`, on an otherwise idle machine. `ours` is what the
stage quantise does. The others differ from it in one thing each; `off the shelf` is ONNX Runtime's quantiser on the
exported graph as it is, with batch norm in place. Times are of the whole network without side heads and, where heads
matter, of float32's selected policy; ratios are taken round by round, all variants side by side.
"""

import io
import logging
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto
from onnx.utils import Extractor
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

from offramp.data.prepared import read_split
from offramp.params import read_project
from offramp.policies.file import read_policies
from offramp.policies.policy import Policy, full_network
from offramp.project.files import write_json
from offramp.project.host import describe
from offramp.runtime.benchmark.caching import first_pictures
from offramp.runtime.engines import open_graph
from offramp.runtime.engines.graphs import IMAGES, logits_name
from offramp.runtime.engines.onnx import OnnxEngine
from offramp.runtime.int8.batch_norm import absorb_batch_norm
from offramp.runtime.int8.quantising import first_tune_images, quantise
from offramp.runtime.live import Images, Runtime
from offramp.runtime.timing import interleaved, spread
from offramp.scores.scoring import Scoring

BATCH_SIZES = {1: 64, 64: 4}  # and how many batches are a turn
ROUNDS = 40
OTHER = {
    "per-tensor weights": {"per_channel": False},
    "uint8 weights": {"weight_type": QuantType.QUInt8},
    "int8 activations": {"activation_type": QuantType.QInt8},
    "entropy": {"calibrate_method": CalibrationMethod.Entropy},
    "percentile 99.999": {
        "calibrate_method": CalibrationMethod.Percentile,
        "extra_options": {"CalibPercentile": 99.999},
    },
}


def main() -> None:
    project = read_project()
    validation = read_split(Path("data/prepared/val.parquet"))
    folds = project.calibrate
    images = first_tune_images(validation, project.int8.images, folds.tune_fraction, folds.fold_seed)
    network = open_graph("onnx")
    models = {"float32": network}
    # first of all: the quantiser's own sessions are refused once ours share their threads
    models["off the shelf"] = static(_answers(network), images)
    for name, changed in OTHER.items():
        models[name] = static(absorb_batch_norm(_answers(network)), images, **changed)
    models["float32, batch norm taken out"] = absorb_batch_norm(network)
    for name, heads in (("ours", "int8"), ("float32 heads", "float32")):
        models[name] = quantise(network, images, heads, project.compute.threads)
    pictures = first_pictures(validation, 10**9)
    rows = accuracies(models, pictures.images, pictures.label, project.compute.threads)
    for name, values in times(models, pictures.images, project.compute.threads).items():
        rows[name] |= values
    result = {
        "command": "python -m experiments.quantisation",
        "host": describe(),
        "threads": project.compute.threads,
        "calibration_images": len(images),
        "rounds": ROUNDS,
        "variants": rows,
    }
    write_json(Path("results/quantisation/result.json"), result)
    for name, row in rows.items():
        faster = ", ".join(f"{key} {value['speedup']:.2f}" for key, value in row.items() if isinstance(value, dict))
        print(f"{name}: accuracy {row['full']:.4f}, times as fast as float32: {faster}")


def static(model: ModelProto, images: Images, **changed: Any) -> ModelProto:
    """Return what ONNX Runtime's quantize_static makes of a graph, with one setting changed."""
    chosen: dict[str, Any] = {"per_channel": True, "activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    logging.getLogger().setLevel(logging.ERROR)
    with TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        path = Path(folder) / "quantised.onnx"
        quantize_static(model, path, _Reader(images), quant_format=QuantFormat.QDQ, **(chosen | changed))
        return onnx.load(path)


def accuracies(
    models: dict[str, ModelProto], images: Images, label: NDArray[np.int64], threads: int
) -> dict[str, dict[str, Any]]:
    """Return the accuracy of the first and last exit, and the error of all logits against float32's."""
    rows: dict[str, dict[str, Any]] = {}
    exact: NDArray[np.float32] | None = None
    for name, model in models.items():
        engine = OnnxEngine(model, threads)
        logits = np.concatenate([engine.exit_logits(images[row : row + 64]) for row in range(0, len(images), 64)])
        exact = logits if exact is None else exact
        right = (logits.argmax(axis=2) == label[:, None]).mean(axis=0)
        error = float(np.sqrt(np.square(logits - exact).mean()))
        rows[name] = {"first_exit": float(right[0]), "full": float(right[-1]), "logit_error": error}
    return rows


def times(models: dict[str, ModelProto], images: Images, threads: int) -> dict[str, dict[str, Any]]:
    """Return, per batch size, the time and how many times faster than float32 a variant is, in the same round."""
    policies = read_policies(Path("metrics/policies.json"))
    n_exits = len(policies.exits)
    found: dict[str, dict[str, Any]] = {name: {} for name in models}
    wanted = {"full": (full_network(n_exits), list(models))}
    wanted["selected"] = (policies.selected.thresholds, ["float32", "ours", "float32 heads"])
    for policy, (thresholds, names) in wanted.items():
        scoring = policies.scoring if policy == "selected" else Scoring.plain("entropy", policies.exits)
        runtimes = {
            name: Runtime(OnnxEngine(models[name], threads), Policy(thresholds, scoring=scoring)) for name in names
        }
        for size, turn in BATCH_SIZES.items():
            batches = [images[row : row + size] for row in range(0, size * turn, size)]
            runs: dict[str, Callable[[], object]] = {
                name: partial(_all, run, batches) for name, run in runtimes.items()
            }
            seconds = interleaved(runs, ROUNDS, warm_up=3)
            for name, values in seconds.items():
                ms, low, high = spread(values / (size * turn) * 1e3)
                faster, faster_low, faster_high = spread(seconds["float32"] / values)
                found[name][f"{policy}_batch_{size}"] = {
                    "ms_per_sample": ms,
                    "ms_low": low,
                    "ms_high": high,
                    "speedup": faster,
                    "speedup_low": faster_low,
                    "speedup_high": faster_high,
                }
    return found


def _all(runtime: Runtime, batches: list[Images]) -> None:
    for batch in batches:
        runtime(batch)


def _answers(network: ModelProto) -> ModelProto:
    names = [output.name for output in network.graph.output if output.name.startswith("logits_")]
    assert names == [logits_name(k) for k in range(len(names))], "exits stand in their order"
    return Extractor(network).extract_model([IMAGES], names)


class _Reader:
    """Calibration images as quantize_static asks for them."""

    def __init__(self, images: Images) -> None:
        self._batches = iter([images[row : row + 64] for row in range(0, len(images), 64)])

    def get_next(self) -> dict[str, Images] | None:
        batch = next(self._batches, None)
        return None if batch is None else {IMAGES: batch}


if __name__ == "__main__":
    main()
