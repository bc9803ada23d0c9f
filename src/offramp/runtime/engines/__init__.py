"""Engines by name, from the files of the stages; torch, onnx and onnxruntime are imported where one needs them."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from offramp.project.errors import InputError
from offramp.project.files import sha256
from offramp.runtime.engines.pieces import Engine

MODELS = Path("models")
WEIGHTS = "network.safetensors"
GRAPHS = {"onnx": ("network.onnx", "export"), "onnx_int8": ("network_int8.onnx", "quantise")}  # file and its stage


def open_engine(name: str, threads: int, device: str, folder: Path = MODELS) -> Engine:
    """Return the engine of this name with the trained network in `folder`; `device` is that of torch.

    Raises InputError for an unknown name and for a missing or foreign file.
    """
    return _opener(name)(threads, device, folder)


def provenance(name: str, folder: Path = MODELS) -> dict[str, Any]:
    """Return what a cache filled by this engine says of its network: `model` and `model_sha256`, that of the weights.

    Raises InputError as `open_engine` does.
    """
    _opener(name)
    if name == "torch":
        from offramp.networks.file import load_network

        _, description = load_network(folder / WEIGHTS)
        return {"model": description.model, "model_sha256": sha256(folder / WEIGHTS)}
    about = graph_description(name, folder)
    return {"model": about["model"], "model_sha256": about["model_sha256"]}


def open_graph(name: str, folder: Path = MODELS) -> Any:
    """Return the graph of an ONNX engine (an onnx.ModelProto). Raises InputError where there is none."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    file, stage = GRAPHS[name]
    path = folder / file
    try:
        return onnx.load(path)
    except FileNotFoundError:
        raise InputError(f"there is no {path}; run `dvc repro deployment/dvc.yaml:{stage}`") from None
    except (DecodeError, OSError) as error:
        raise InputError(f"{path} is not a readable ONNX file: {error}; run `dvc repro -P`") from None


def graph_description(name: str, folder: Path = MODELS) -> dict[str, Any]:
    """Return what the graph of an ONNX engine says of itself: model, exits, classes, image_shape, model_sha256, …"""
    file, stage = GRAPHS[name]
    for entry in open_graph(name, folder).metadata_props:
        if entry.key == "offramp":
            return json.loads(entry.value)
    raise InputError(f"{folder / file} does not say which network it holds; it was not written by the {stage} stage")


def _opener(name: str) -> Callable[[int, str, Path], Engine]:
    if name not in _OPENERS:
        raise InputError(f"engine must be one of: {', '.join(sorted(_OPENERS))}; got {name!r}")
    return _OPENERS[name]


def _open_onnx(name: str, threads: int, device: str, folder: Path) -> Engine:  # noqa: ARG001 (it runs on the CPU)
    from offramp.runtime.engines.onnx import OnnxEngine

    return OnnxEngine(open_graph(name, folder), threads, name)


def _open_torch(threads: int, device: str, folder: Path) -> Engine:
    from offramp.networks.device import set_up
    from offramp.networks.file import load_network
    from offramp.runtime.engines.torch import TorchEngine

    network, _ = load_network(folder / WEIGHTS)
    return TorchEngine(network, set_up(device, threads))


_OPENERS: dict[str, Callable[[int, str, Path], Engine]] = {
    **{name: partial(_open_onnx, name) for name in GRAPHS},
    "torch": _open_torch,
}
