"""Cache every exit's logits of a split: `python stages/logits.py float32 val` writes data/logits/val.parquet."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.cache.filling import fill_cache
from offramp.cache.params import Logits
from offramp.data.prepared import Images, read_split
from offramp.project.files import sha256
from offramp.project.sections import Compute, StageParams
from offramp.project.stage import INT8, PRECISIONS, run, stage_arguments

NETWORK = Path("models/network.safetensors")
ExitLogits = Callable[[Images], NDArray[np.float32]]  # uint8 images to logits (samples, exits, classes)


class Params(StageParams):
    compute: Compute
    logits: Logits


def main() -> None:
    name, split_name = stage_arguments(list(PRECISIONS), ["val", "test"])
    precision, params = PRECISIONS[name], Params.read()
    exit_logits, about = _int8(params) if precision is INT8 else _float32(params)
    split = read_split(Path(f"data/prepared/{split_name}.parquet"))
    batch_size, dtype = params.logits.batch_size, params.logits.dtype
    metadata = {"split": split_name, "dataset": split.dataset, "classes": split.classes, **about}
    path = precision.path("data/logits{}") / f"{split_name}.parquet"
    seconds = fill_cache(
        exit_logits, len(about["exits"]), split, path, batch_size, dtype, metadata | {"batch_size": batch_size}
    )
    print(
        f"{split.rows} images in {seconds.whole:.1f} s, side by side: forward {seconds.forward:.1f} s, "
        f"decoding {seconds.decode:.1f} s, writing {seconds.write:.1f} s"
    )


def _float32(params: Params) -> tuple[ExitLogits, dict[str, Any]]:
    """Return what runs the trained network, and what a cache says of it."""
    from offramp.networks.device import set_up
    from offramp.networks.file import load_network

    network, description = load_network(NETWORK)
    digest, engine = sha256(NETWORK), params.logits.engine
    about = {"exits": network.exits, "model": description.model, "model_sha256": digest, "engine": engine}
    device = set_up(params.compute.device, params.compute.threads)
    if engine == "torch":
        from offramp.runtime.engines.torch import TorchEngine

        return TorchEngine(network, device).exit_logits, about
    from offramp.runtime.engines.exporting import export
    from offramp.runtime.engines.onnx import OnnxEngine

    return OnnxEngine(export(network, description, digest), params.compute.threads).exit_logits, about


def _int8(params: Params) -> tuple[ExitLogits, dict[str, Any]]:
    """Return what runs the quantised network, and what a cache says of it."""
    from offramp.runtime.engines import graph_description, open_engine, provenance

    name = "onnx_int8"
    engine = open_engine(name, params.compute.threads, params.compute.device)
    about = {"exits": graph_description(name)["exits"], **provenance(name), "engine": name}
    return engine.exit_logits, about


if __name__ == "__main__":
    run(main)
