"""Cache every exit's logits of one split: `python stages/logits.py val` writes data/logits/val.parquet."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.device import set_up
from offramp.errors import InputError
from offramp.files import sha256
from offramp.inference import fill_cache
from offramp.networks.early_exit import EarlyExitNetwork
from offramp.networks.weights import Description, load_network
from offramp.params.compute import Compute
from offramp.params.logits import Logits
from offramp.params.reading import StageParams
from offramp.prepared import Images, read_split
from offramp.runtime.torch_engine import TorchEngine
from offramp.stage import run

NETWORK = Path("models/network.safetensors")
SPLITS = ("val", "test")


class Params(StageParams):
    compute: Compute
    logits: Logits


def main() -> None:
    if sys.argv[1:] not in [[split] for split in SPLITS]:
        raise InputError(f"give one split, {' or '.join(SPLITS)}; got {' '.join(sys.argv[1:]) or 'none'}")
    name = sys.argv[1]
    params = Params.read()
    network, description = load_network(NETWORK)
    split = read_split(Path(f"data/prepared/{name}.parquet"))
    metadata = {
        "split": name,
        "dataset": split.dataset,
        "classes": split.classes,
        "exits": network.exits,
        "model": description.model,
        "model_sha256": sha256(NETWORK),
        "engine": params.logits.engine,
        "batch_size": params.logits.batch_size,
    }
    path = Path(f"data/logits/{name}.parquet")
    exit_logits = engine_logits(network, description, params)
    seconds = fill_cache(
        exit_logits, len(network.exits), split, path, params.logits.batch_size, params.logits.dtype, metadata
    )
    print(
        f"{split.rows} images in {seconds.whole:.1f} s, side by side: forward {seconds.forward:.1f} s, "
        f"decoding {seconds.decode:.1f} s, writing {seconds.write:.1f} s"
    )


def engine_logits(
    network: EarlyExitNetwork, description: Description, params: Params
) -> Callable[[Images], NDArray[np.float32]]:
    """Return what runs the network, from uint8 images to logits (samples, exits, classes)."""
    device = set_up(params.compute.device, params.compute.threads)
    if params.logits.engine == "torch":
        return TorchEngine(network, device).exit_logits
    from offramp.runtime.exporting import export
    from offramp.runtime.onnx_engine import OnnxEngine

    return OnnxEngine(export(network, description, sha256(NETWORK)), params.compute.threads).exit_logits


if __name__ == "__main__":
    run(main)
