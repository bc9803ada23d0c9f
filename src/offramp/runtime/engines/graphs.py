"""ONNX graphs: a network exported once, and the pieces of it that a policy runs.

The exported graph takes uint8 images (samples, height, width, channels), named `images`, and gives every exit's
`logits_k` (samples, classes) and the features after every segment, `features_k`; normalisation is inside. A piece is
cut out of it between two enabled exits, so that what lies between them is fused into one session, and is completed by
the answer (`label`) and its `uncertainty`, in double precision as replay computes it. Needs onnx, not torch.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.utils import Extractor

from offramp.runtime.engines.pieces import Piece
from offramp.runtime.engines.sessions import FEATURES, LABEL, UNCERTAINTY
from offramp.scores.registry import ExitTensors

if TYPE_CHECKING:
    from offramp.scores.scoring import Scoring

IMAGES = "images"
SPLIT_30_BITS = 2.0**23 + 1  # Veltkamp's splitter: 53 bits - 23 = the 30 that `offramp.scores.scoring` keeps


def features_name(k: int) -> str:
    return f"{FEATURES}{k + 1}"


def logits_name(k: int) -> str:
    return f"logits_{k + 1}"


def cut(network: ModelProto, piece: Piece) -> ModelProto:
    """Return the graph of a piece: from images or features to its heads' logits and, where it gives them, features."""
    start = IMAGES if piece.start is None else features_name(piece.start)
    outputs = [logits_name(k) for k in piece.heads]
    if piece.features:
        outputs.append(features_name(piece.end))
    return Extractor(network).extract_model([start], outputs)


def answer(model: ModelProto, piece: Piece, scoring: "Scoring | None") -> ModelProto:
    """Replace the logits that a piece gives by its answer: `label` int64 and, with a scoring, `uncertainty` float64.

    Both are (samples,); the uncertainty is rounded as `scores.scoring` rounds. Changes and returns the model. Raises
    ValueError for a score that has no graph.
    """
    graph = None if scoring is None else scoring.record.graph
    if scoring is not None and graph is None:
        raise ValueError(f"score {scoring.score!r} has no ONNX graph")
    features = [output for output in model.graph.output if output.name.startswith(FEATURES)]
    del model.graph.output[:]
    build = _Builder(model)
    scaled = build.node("Cast", logits_name(piece.end), to=TensorProto.DOUBLE)
    temperature = 1.0 if scoring is None else scoring.temperature[f"exit_{piece.end + 1}"]
    if temperature != 1.0:
        scaled = build.node("Div", scaled, build.number(temperature))
    largest, label = build.nodes("TopK", scaled, build.indices(1), n_outputs=2, axis=1)  # the first one of equals
    build.node("Squeeze", label, build.indices(1), output=LABEL)
    model.graph.output.append(helper.make_tensor_value_info(LABEL, TensorProto.INT64, ["samples"]))
    if scoring is not None and graph is not None:
        value = graph(build, ExitTensors(piece.end, scaled, largest, label), scoring.fitted)
        large = build.node("Mul", value, build.number(SPLIT_30_BITS))
        build.node("Sub", large, build.node("Sub", large, value), output=UNCERTAINTY)
        model.graph.output.append(helper.make_tensor_value_info(UNCERTAINTY, TensorProto.DOUBLE, ["samples"]))
    model.graph.output.extend(features)
    return model


class _Builder:
    """Appends nodes to a graph, naming what they give."""

    def __init__(self, model: ModelProto) -> None:
        self._graph = model.graph
        self._count = 0

    def nodes(self, operator: str, *inputs: str, n_outputs: int, **attributes: Any) -> list[str]:
        outputs = [self._name() for _ in range(n_outputs)]
        self._graph.node.append(helper.make_node(operator, list(inputs), outputs, **attributes))
        return outputs

    def node(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        name = output or self._name()
        self._graph.node.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def number(self, value: float) -> str:
        return self._constant(np.array(value, np.float64))

    def indices(self, *values: int) -> str:
        return self._constant(np.array(values, np.int64))

    def total(self, operator: str, values: str) -> str:
        """Reduce over the classes."""
        return self.node(operator, values, self.indices(1), keepdims=0)

    def _constant(self, value: NDArray[Any]) -> str:
        name = self._name()
        self._graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def _name(self) -> str:
        self._count += 1
        return f"offramp_{self._count}"
