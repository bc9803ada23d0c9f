"""Batch norm after ReLU, taken out of an exported graph exactly; what remains are layers that can be quantised.

Batch norm y = s·x + t after a layer and its ReLU cannot be folded into a zero-padded convolution that follows: the
padding is zero where t should be missing. But |s| goes into the layer before, through ReLU; the sign of s into the
weights after; and t adds to what follows a constant per channel, its bias, except along the border, where a constant
image, added to the convolution, takes off what the padding does not have. The features that pass are then without
their shift t; everything behind them is as before, up to rounding.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper, shape_inference

Floats = NDArray[np.float64]
LAYERS = ("Conv", "Gemm")


@dataclass(frozen=True)
class _Place:
    """A batch norm that can go: the layer and ReLU before it, the layers after it, and what is between them."""

    norm: NodeProto
    layer: NodeProto
    relu: NodeProto
    after: list[NodeProto]
    pooled: bool


def absorb_batch_norm(network: ModelProto) -> ModelProto:
    """Return a copy without the batch norms that follow a layer and its ReLU; the others stay.

    One stays where something else reads the values before it, where it is read by anything but convolutions and linear
    layers (flattened before or not), or where a scale is negative and max pooling follows.
    """
    model = ModelProto()
    model.CopyFrom(network)
    graph = _Graph(model)
    for node in [node for node in model.graph.node if node.op_type == "BatchNormalization"]:
        place = graph.place(node)
        if place is not None:
            graph.absorb(place)
    graph.write()
    return model


class _Graph:
    """A graph's weights in double precision, and who reads what."""

    def __init__(self, model: ModelProto) -> None:
        self._model = model
        self._weights = {
            tensor.name: numpy_helper.to_array(tensor).astype(np.float64)
            for tensor in model.graph.initializer
            if tensor.data_type == tensor.FLOAT
        }
        self._changed: set[str] = set()
        self._borders: dict[str, Floats] = {}  # by the name of what a convolution gives
        self._gone: list[str] = []
        inferred = shape_inference.infer_shapes(model).graph
        self._sizes = {
            value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
            for value in (*inferred.value_info, *inferred.output)
        }

    def place(self, norm: NodeProto) -> _Place | None:
        """Return what is around a batch norm, None where it has to stay."""
        relu = self._maker(norm.input[0])
        layer = None if relu is None or relu.op_type != "Relu" else self._maker(relu.input[0])
        if relu is None or layer is None or not self._is_plain(layer):
            return None
        alone = all(len(self._readers(node.output[0])) == 1 for node in (relu, layer))
        after = self._readers(norm.output[0])
        pooled = len(after) == 1 and after[0].op_type == "MaxPool"
        if pooled:
            if (self._scale_and_shift(norm)[0] < 0).any():  # the largest value would come from the smallest one
                return None
            after = self._readers(after[0].output[0])
        flattened = [self._after_flattening(node) for node in after]
        layers = [node for node in flattened if node is not None and self._is_plain(node)]
        return _Place(norm, layer, relu, layers, pooled) if alone and after and len(layers) == len(after) else None

    def absorb(self, place: _Place) -> None:
        scale, shift = self._scale_and_shift(place.norm)
        weight, bias = place.layer.input[1], place.layer.input[2]
        self._multiply(weight, np.abs(scale), axis=0)
        self._multiply(bias, np.abs(scale), axis=0)
        border = self._borders.get(place.layer.output[0])
        if border is not None:
            border *= np.abs(scale)[:, None, None]
        for layer in place.after:
            self._take(layer, np.sign(scale), shift)
        place.relu.output[0] = place.norm.output[0]
        self._gone.append(place.norm.name)

    def write(self) -> None:
        """Put nodes and weights back into the model."""
        graph = self._model.graph
        nodes = []
        for node in graph.node:
            if node.name in self._gone:
                continue
            nodes.append(node)
            name = node.output[0]
            if name in self._borders:
                self._weights[f"{name}_border"] = self._borders[name][None]
                self._changed.add(f"{name}_border")
                nodes.append(
                    helper.make_node("Add", [f"{name}_padded", f"{name}_border"], [name], f"{node.name}_border")
                )
                node.output[0] = f"{name}_padded"
        kept = [type(node).FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:]
        graph.node.extend(kept)
        del graph.value_info[:]
        self._write_weights({name for node in kept for name in node.input})

    def _write_weights(self, used: set[str]) -> None:
        graph = self._model.graph
        old = {tensor.name: tensor for tensor in graph.initializer}
        kept = [
            numpy_helper.from_array(self._weights[name].astype(np.float32), name)
            if name in self._changed
            else old[name]
            for name in (*old, *sorted(self._changed - set(old)))
            if name in used
        ]
        kept = [type(tensor).FromString(tensor.SerializeToString()) for tensor in kept]
        del graph.initializer[:]
        graph.initializer.extend(kept)

    def _take(self, layer: NodeProto, sign: Floats, shift: Floats) -> None:
        """Give a layer the sign and shift of the channels that it reads."""
        weight, bias = layer.input[1], layer.input[2]
        values = self._weights[weight]
        each = values.shape[1] // len(shift)  # pixels of a channel, where it was flattened
        spread = np.repeat(shift, each)
        constant = np.tensordot(values, spread, axes=([1], [0]))  # (out, …): of the shift at every tap
        self._weights[bias] = self._weights[bias] + constant.reshape(len(constant), -1).sum(axis=1)
        self._changed.add(bias)
        if layer.op_type == "Conv" and any(_padding(layer)):
            missing = _missing_at_border(layer, constant, self._sizes[layer.input[0]][2:])
            self._borders[layer.output[0]] = self._borders.get(layer.output[0], 0.0) - missing
        self._multiply(weight, np.repeat(sign, each), axis=1)

    def _multiply(self, name: str, factor: Floats, axis: int) -> None:
        values = self._weights[name]
        self._weights[name] = values * factor.reshape([-1 if k == axis else 1 for k in range(values.ndim)])
        self._changed.add(name)

    def _scale_and_shift(self, norm: NodeProto) -> tuple[Floats, Floats]:
        weight, bias, mean, variance = (self._weights[name] for name in norm.input[1:5])
        scale = weight / np.sqrt(variance + _attribute(norm, "epsilon", 1e-5))
        return scale, bias - mean * scale

    def _after_flattening(self, node: NodeProto) -> NodeProto | None:
        """Return the layer behind a flattening, the node itself where it is none."""
        if node.op_type not in ("Reshape", "Flatten"):
            return node
        readers = self._readers(node.output[0])
        flat = readers[0] if len(readers) == 1 and readers[0].op_type == "Gemm" else None
        size = self._sizes.get(node.input[0], [])[1:]
        whole = flat is not None and self._weights[flat.input[1]].shape[1] == np.prod(size)
        return flat if whole else None

    def _is_plain(self, node: NodeProto) -> bool:
        """Return whether a node is a layer with a weight and a bias of its own, in the form that is handled here."""
        if node.op_type not in LAYERS or len(node.input) != 3:
            return False
        if any(name not in self._weights or len(self._readers(name)) > 1 for name in node.input[1:]):
            return False
        if node.op_type == "Gemm":
            plain = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 1}
            return all(
                _attribute(node, name, 0 if name == "transA" else None) == value for name, value in plain.items()
            )
        automatic = _attribute(node, "auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
        return _attribute(node, "group", 1) == 1 and not automatic

    def _maker(self, name: str) -> NodeProto | None:
        return next((node for node in self._model.graph.node if name in node.output), None)

    def _readers(self, name: str) -> list[NodeProto]:
        return [node for node in self._model.graph.node if name in node.input]


def _missing_at_border(layer: NodeProto, constant: Floats, size: list[int]) -> Floats:
    """Return how much of `constant` (out, height, width of the kernel) the padding cuts off, (out, height, width)."""
    top, left, bottom, right = _padding(layer)
    (down, across), (rows, columns) = (_attribute(layer, name, [1, 1]) for name in ("strides", "dilations"))
    outside = np.pad(np.zeros(size), ((top, bottom), (left, right)), constant_values=1.0)
    height, width = ((taps - 1) * step + 1 for taps, step in zip(constant.shape[1:], (rows, columns), strict=True))
    windows = sliding_window_view(outside, (height, width))[::down, ::across, ::rows, ::columns]
    return np.einsum("oij,yxij->oyx", constant, windows)


def _padding(layer: NodeProto) -> list[int]:
    return list(_attribute(layer, "pads", [0, 0, 0, 0]))


def _attribute(node: NodeProto, name: str, default: Any) -> Any:
    return next((helper.get_attribute_value(entry) for entry in node.attribute if entry.name == name), default)
