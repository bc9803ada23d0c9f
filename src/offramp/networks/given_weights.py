"""Weights that somebody brings: a safetensors file or a plain torch state dict, checked name by name.

A file whose name ends in .safetensors is read as such, any other with `torch.load(weights_only=True)`, which builds
tensors and runs no code. A torch file holds a mapping from names to tensors, or one of these: {"state_dict": mapping},
{"model": mapping}. A prefix `module.` of all names (DataParallel) is dropped. Nothing is converted: a tensor has the
network's shape and type, and its numbers are finite.
"""

import pickle
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from offramp.networks.early_exit import EarlyExitNetwork, side_head_names
from offramp.project.errors import InputError

SHOWN = 10  # names of one kind in a message
WRAPPERS = ("state_dict", "model")
LARGEST_RATIO = 10  # a training checkpoint in float64 holds six times the network's bytes
SLACK = 64 * 2**20  # bytes


def load_weights(network: EarlyExitNetwork, path: Path) -> None:
    """Load all of the network's parameters and buffers from `path`.

    Raises InputError for a file that cannot be read and, listing them, for names, shapes and types that do not fit.
    """
    _load(network, path, may_be_missing=set())


def load_initial_weights(network: EarlyExitNetwork, path: Path) -> list[str]:
    """Load what training starts from; return the names of side heads' tensors that the file lacks, in order.

    These keep their random initial values. Everything else must be there: InputError as in `load_weights`.
    """
    return _load(network, path, may_be_missing=side_head_names(network))


def _load(network: EarlyExitNetwork, path: Path, may_be_missing: set[str]) -> list[str]:
    expected = network.state_dict()
    found = _read(path, sum(tensor.nbytes for tensor in expected.values()))
    missing = [name for name in expected if name not in found]
    problems = [
        _listed("missing", [name for name in missing if name not in may_be_missing]),
        _listed("unexpected", [name for name in found if name not in expected]),
        _listed("wrong", _differences(expected, found)),
    ]
    if any(problems):
        raise InputError(
            f"{path} does not fit {type(network).__name__}: {'; '.join(filter(None, problems))}; change the file or "
            "the network in params.yaml"
        )
    network.load_state_dict(found, strict=False)
    return missing


def _differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> Iterable[str]:
    """Yield what is wrong with every tensor of a known name: its shape, its type, or a number that is not finite."""
    for name, wanted in expected.items():
        given = found.get(name)
        if given is None:
            continue
        if given.shape != wanted.shape:
            yield f"{name} (shape {tuple(given.shape)}, must be {tuple(wanted.shape)})"
        elif given.dtype != wanted.dtype or given.layout != torch.strided or given.is_meta:
            yield f"{name} ({_kind(given)}, must be {_kind(wanted)})"
        elif given.is_floating_point() and not given.isfinite().all():
            yield f"{name} (holds NaN or infinity)"


def _kind(tensor: Tensor) -> str:
    layout = "" if tensor.layout == torch.strided else f" {tensor.layout}".replace("torch.", "")
    return f"{tensor.dtype}".removeprefix("torch.") + layout + (" without data" if tensor.is_meta else "")


def _listed(kind: str, names: Iterable[str]) -> str:
    names = list(names)
    more = ", ..." if len(names) > SHOWN else ""
    return f"{len(names)} {kind}: {', '.join(names[:SHOWN])}{more}" if names else ""


def _read(path: Path, network_bytes: int) -> dict[str, Tensor]:
    _require_size(path, LARGEST_RATIO * network_bytes + SLACK)
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    if isinstance(content, dict):
        inner = [content[key] for key in WRAPPERS if isinstance(content.get(key), dict)]
        content = inner[0] if inner else content
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content) or not content:
        raise InputError(f"{path} holds no mapping from names to tensors (a state dict); it was written otherwise")
    others = [name for name, value in content.items() if not isinstance(value, Tensor)]
    if others:
        raise InputError(f"{path} is no plain state dict: {_listed('entries are no tensors', others)}")
    if all(name.startswith("module.") for name in content):
        content = {name.removeprefix("module."): tensor for name, tensor in content.items()}
    return {name: tensor.detach() for name, tensor in content.items()}


def _require_size(path: Path, largest: int) -> None:
    """Refuse a file, or a zip archive's content, that would fill the memory and cannot be this network's weights."""
    try:
        size = path.stat().st_size
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                size = max(size, sum(record.file_size for record in archive.infolist()))
    except FileNotFoundError:
        raise InputError(f"there is no {path}; change it in params.yaml") from None
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    if size > largest:
        raise InputError(
            f"{path} holds {size / 2**20:.0f} MiB, which are not the weights of this network: at most "
            f"{largest / 2**20:.0f} MiB are read; store its state dict alone"
        )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, KeyError) as error:  # KeyError: a type that torch does not have
        raise InputError(f"{path} is not a readable safetensors file: {_line(error)}") from None


def _read_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles that it then refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} is not a plain state dict: it is damaged or holds objects that would run code, which is never "
            f"done ({_line(error)}); store torch.save(model.state_dict(), ...) or safetensors"
        ) from None
    except Exception as error:  # a damaged pickle makes the restricted unpickler raise nearly anything
        raise InputError(f"{path} is not a readable torch file: {_line(error)}") from None


def _line(error: BaseException) -> str:
    """Return the first sentence of a message: torch appends advice to switch its protection off."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.split(". ")[0][:200]
