"""From an exported network in float32 to one in INT8, by ONNX Runtime's static quantisation after training.

Inputs, outputs and metadata keep their names, so that pieces are cut out of it as out of the other one. What passes
between segments, `features_k`, are the 8-bit numbers themselves: a cut loses nothing. Ranges are the smallest and
largest values that calibration images give. Needs onnx and onnxruntime, not torch.
"""

import hashlib
import json
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto, helper
from onnx.utils import Extractor
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from offramp.cache.folds import in_tune
from offramp.data.prepared import Images, Split, read_batches
from offramp.project.errors import InputError
from offramp.runtime.engines.graphs import IMAGES, logits_name
from offramp.runtime.engines.sessions import FEATURES, open_session
from offramp.runtime.int8.batch_norm import absorb_batch_norm

Range = tuple[np.float32, np.float32]
HEADS = ("int8", "float32")
PRODUCTS = {"Conv", "Gemm", "MatMul"}
BATCH = 64  # calibration images per forward pass


def quantise(network: ModelProto, images: Images, heads: str = "int8", threads: int = 1) -> ModelProto:
    """Return the network in INT8, calibrated on these images; with `heads` float32 all heads stay as they are.

    Weights are int8 with a scale per output channel, activations uint8. The same network and images give the same
    bytes. `threads` is for the pool that all later sessions of this process share, if there is none yet. Raises
    InputError for no images and for unknown `heads`.
    """
    if heads not in HEADS:
        raise InputError(f"int8.heads must be one of: {', '.join(HEADS)}; got {heads!r} (change it in params.yaml)")
    if len(images) == 0:
        raise InputError("INT8 needs images to calibrate on, at least 1; got none (int8.images in params.yaml)")
    n_exits = sum(output.name.startswith(FEATURES) for output in network.graph.output)
    answers = Extractor(network).extract_model([IMAGES], [logits_name(k) for k in range(n_exits)])
    excluded = head_nodes(answers, n_exits) if heads == "float32" else []
    absorbed = absorb_batch_norm(answers)
    excluded += _products_of_activations(absorbed)
    model = _quantised(absorbed, _ranges(absorbed, images, threads), excluded)
    graph = model.graph
    del graph.value_info[:]
    outputs = {output.name: output for output in network.graph.output}
    given = [
        _eight_bits(model, value) if name.startswith(FEATURES) else _float(model, value)
        for name, value in outputs.items()
    ]
    del graph.output[:]
    graph.output.extend(given)
    _describe(model, network, images, heads)
    onnx.checker.check_model(model)
    return model


def head_nodes(network: ModelProto, n_exits: int) -> list[str]:
    """Return the names of the nodes between every exit's features and its logits."""
    makers = {name: node for node in network.graph.node for name in node.output}
    found: set[str] = set()
    for k in range(n_exits):
        waiting = [logits_name(k)]
        while waiting:
            node = makers.get(waiting.pop())
            if node is not None and node.name not in found:
                found.add(node.name)
                waiting += [name for name in node.input if not name.startswith(FEATURES)]
    return sorted(found)


def _quantised(model: ModelProto, ranges: dict[str, Range], excluded: list[str]) -> ModelProto:
    """Return the graph with quantisation before and after every node that has an integer form, but those excluded."""
    quantiser = QDQQuantizer(
        model=onnx.shape_inference.infer_shapes(model),
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, ranges),
        nodes_to_quantize=[],  # all
        nodes_to_exclude=excluded,
        op_types_to_quantize=sorted(_integer_operators(model)),
        extra_options={},
    )
    quantiser.quantize_model()
    quantiser.model.topological_sort()
    result: ModelProto = quantiser.model.model
    return result


def _integer_operators(model: ModelProto) -> set[str]:
    """Return the operators to quantise: all that have an integer form but batch norm, which is taken out or stays.

    Of a network with layer norm, a transformer, just products. Between those its values have long tails, which 256
    levels do not hold: with everything quantised a ViT's logits come out three times as far off, and no sooner.
    """
    transformer = any(node.op_type == "LayerNormalization" for node in model.graph.node)
    return PRODUCTS if transformer else {*QDQRegistry, *QLinearOpsRegistry} - {"BatchNormalization"}


def _products_of_activations(model: ModelProto) -> list[str]:
    """Return the names of matrix products without a weight, as attention has them: they stay in float32.

    Few of a network's products are of this kind, and ONNX Runtime (1.31, x86) computes some of them wrongly in 8 bits.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type == "MatMul" and not weights & set(node.input)]


def _ranges(model: ModelProto, images: Images, threads: int) -> dict[str, Range]:
    """Return the smallest and the largest value of everything that nodes calculate.

    The quantiser's own calibration does the same in a session with threads of its own, which a process that has our
    shared ones refuses.
    """
    measured = ModelProto()
    measured.CopyFrom(model)
    graph = measured.graph
    names = _float_values(model)
    del graph.output[:]
    for operator in ("ReduceMin", "ReduceMax"):
        for name in names:
            output = f"{name}_{operator}"
            graph.node.append(helper.make_node(operator, [name], [output], keepdims=0))
            graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, []))
    session = open_session(measured.SerializeToString(), threads)
    batches = (images[row : row + BATCH] for row in range(0, len(images), BATCH))
    values = np.array([session.run(None, {IMAGES: batch}) for batch in batches], np.float32)
    low, high = values[:, : len(names)].min(axis=0), values[:, len(names) :].max(axis=0)
    return {name: (low[place], high[place]) for place, name in enumerate(names)}


def _float_values(model: ModelProto) -> list[str]:
    inferred = onnx.shape_inference.infer_shapes(model).graph
    found = [*inferred.value_info, *inferred.output]
    return sorted({value.name for value in found if value.type.tensor_type.elem_type == TensorProto.FLOAT})


def _eight_bits(model: ModelProto, features: ValueInfoProto) -> ValueInfoProto:
    """Give the features' name to their 8-bit numbers; where something reads them as they are they stay so."""
    readers = [node for node in model.graph.node if features.name in node.input]
    if [node.op_type for node in readers] != ["QuantizeLinear"]:
        return features
    node = readers[0]
    _rename(model, features.name, f"{features.name}_float32")
    _rename(model, node.output[0], features.name)
    quantised = ValueInfoProto()
    quantised.CopyFrom(features)
    quantised.type.tensor_type.elem_type = TensorProto.UINT8
    return quantised


def _float(model: ModelProto, logits: ValueInfoProto) -> ValueInfoProto:
    """Take the rounding to 8 bits off the logits: 256 levels would make ties of many confident answers."""
    makers = {name: node for node in model.graph.node for name in node.output}
    last = makers[logits.name]
    if last.op_type == "DequantizeLinear":
        rounding = makers[last.input[0]]
        model.graph.node.remove(last)
        model.graph.node.remove(rounding)
        _rename(model, rounding.input[0], logits.name)
    return logits


def _rename(model: ModelProto, old: str, new: str) -> None:
    for node in model.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new


def _describe(model: ModelProto, network: ModelProto, images: Images, heads: str) -> None:
    about = {entry.key: entry.value for entry in network.metadata_props}
    content: dict[str, Any] = json.loads(about.get("offramp", "{}"))
    content["precision"] = {"segments": "int8", "heads": heads}
    content["calibration"] = {"images": len(images), "sha256": hashlib.sha256(images.tobytes()).hexdigest()}
    helper.set_model_props(model, about | {"offramp": json.dumps(content, ensure_ascii=False)})
    model.producer_name = network.producer_name


BATCH = 256  # rows decoded at once


def first_tune_images(validation: Split, number: int, tune_fraction: float, fold_seed: int) -> Images:
    """Return the first images (≤ number, height, width, channels) of the validation split that are in its tune fold.

    All of them where the fold has fewer. Raises InputError where it is empty.
    """
    parts: list[Images] = []
    found = 0
    for sample, images, _ in read_batches(validation, BATCH):
        part = images[in_tune(sample, tune_fraction, fold_seed)][: number - found]
        parts.append(part)
        found += len(part)
        if found == number:
            break
    if not found:
        raise InputError(
            f"none of the {validation.rows} rows of {validation.path} is in the tune fold, whose images int8 is "
            "calibrated on; raise calibrate.tune_fraction in params.yaml"
        )
    return np.concatenate(parts)
