"""The network that goes into a bundle, as one ONNX graph with every exit: exported here, or read from a file.

A .safetensors file is exported in this process (needs torch); an .onnx file must be one that `offramp` wrote, as
`stages/export.py` writes models/network.onnx, or a quantised form of one, with what it holds in its metadata.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from onnx import ModelProto, TensorProto, ValueInfoProto, helper, load_model_from_string
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from offramp.project.allowed import describe
from offramp.project.errors import InputError
from offramp.project.files import sha256
from offramp.runtime.bundle.schema import IMAGES, MODES, Axis, Digest, EngineName, Name, TensorEntry
from offramp.runtime.engines.graphs import features_name, logits_name

METADATA = "offramp"
QUANTISED = re.compile("(Q|Deq)uantizeLinear|QLinear")  # operators of ONNX
SAFETENSORS, ONNX = ".safetensors", ".onnx"


class About(BaseModel):
    """What an exported graph says of itself; see `offramp.runtime.engines.exporting`."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    model: Name
    model_sha256: Digest
    image_shape: tuple[Axis, Axis, Axis]  # channels, height, width
    classes: Annotated[list[Name], Field(min_length=2)]
    exits: Annotated[list[Name], Field(min_length=1)]
    dataset: Name | None = None


@dataclass(frozen=True)
class Graph:
    """A whole network and the file it came from."""

    model: ModelProto
    about: About
    path: Path

    @property
    def engine(self) -> EngineName:
        """Return the name of the engine, as in costs and tables: `onnx_int8` where anything is quantised."""
        quantised = any(QUANTISED.search(node.op_type) for node in self.model.graph.node)
        return "onnx_int8" if quantised else "onnx"


def read_graph(path: Path) -> Graph:
    """Return the network in a file. Raises InputError for a file that is missing, foreign or broken."""
    if path.suffix == SAFETENSORS:
        from offramp.networks.file import load_network
        from offramp.runtime.engines.exporting import export

        network, description = load_network(path)
        model = export(network, description, sha256(path))
    elif path.suffix == ONNX:
        model = _read_onnx(path)
    else:
        raise InputError(f"--model takes a network as {SAFETENSORS} or {ONNX}; got {path}")
    graph = Graph(model, _about(model, path), path)
    _require_exits(graph)
    return graph


def tensor(value: ValueInfoProto, path: Path) -> TensorEntry:
    """Return an input or output as bundle.json has it. Raises InputError where one sample's shape is not fixed."""
    kind = value.type.tensor_type
    sizes = [axis.dim_value for axis in kind.shape.dim[1:]]
    if not all(size > 0 for size in sizes):
        raise InputError(f"{path}: the shape of {value.name} is not fixed, but for the samples; export it again")
    return TensorEntry(name=value.name, type=helper.tensor_dtype_to_np_dtype(kind.elem_type).name, shape=sizes)


def _read_onnx(path: Path) -> ModelProto:
    try:
        model = load_model_from_string(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"there is no {path}; `dvc repro -P` writes models/network.onnx") from None
    except Exception as error:  # protobuf has an error of its own for what is not ONNX
        raise InputError(f"{path} is not a readable ONNX file: {error}") from None
    if any(weight.data_location == TensorProto.EXTERNAL for weight in model.graph.initializer):
        raise InputError(f"{path} keeps weights in files of their own; save it as one file")
    return model


def _about(model: ModelProto, path: Path) -> About:
    texts = [entry.value for entry in model.metadata_props if entry.key == METADATA]
    if not texts:
        raise InputError(f"{path} does not say which network it holds; `dvc repro -P` writes one that does")
    try:
        about = About.model_validate(json.loads(texts[0]))
    except (ValidationError, ValueError, RecursionError) as error:
        problem = describe(error, About) if isinstance(error, ValidationError) else str(error)
        raise InputError(f"{path}: what it says of itself is not usable: {problem}; export it again") from None
    if about.image_shape[0] not in MODES:
        channels = about.image_shape[0]
        raise InputError(f"a bundle takes grey (1 channel) or RGB images (3); {path} has {channels} channels")
    return about


def _require_exits(graph: Graph) -> None:
    """Raise InputError where the graph's inputs and outputs are not those that its description promises."""
    about, path = graph.about, graph.path
    channels, height, width = about.image_shape
    found = {value.name: value for value in (*graph.model.graph.input, *graph.model.graph.output)}
    wanted = [TensorEntry(name=IMAGES, type="uint8", shape=[height, width, channels])]
    wanted += [
        TensorEntry(name=logits_name(k), type="float32", shape=[len(about.classes)]) for k in range(len(about.exits))
    ]
    for entry in wanted:
        if entry.name not in found or tensor(found[entry.name], path) != entry:
            raise InputError(f"{path} has no {entry.name} of type {entry.type} and shape {entry.shape} per sample")
    missing = [name for name in map(features_name, range(len(about.exits) - 1)) if name not in found]
    if missing:
        raise InputError(f"{path} has no {missing[0]}, where a policy may cut it; export it again")
