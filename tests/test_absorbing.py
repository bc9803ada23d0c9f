"""Batch norm taken out of a graph: the same logits, and only the batch norms that have to stay."""

import numpy as np
import onnx
import pytest
from cases.exported import noise
from cases.int8 import settled_graph, without_negative_scales
from onnx import TensorProto, helper, numpy_helper

from offramp.runtime.engines.graphs import cut
from offramp.runtime.engines.pieces import every_exit
from offramp.runtime.engines.sessions import open_session
from offramp.runtime.int8.batch_norm import absorb_batch_norm


def logits_of(model, images):
    session = open_session(cut(model, every_exit(6)).SerializeToString(), 2)
    return np.stack(session.run(None, {"images": images}), axis=1)


def norms(model):
    return [node.name for node in model.graph.node if node.op_type == "BatchNormalization"]


@pytest.fixture(scope="module")
def mixed():
    return settled_graph()


@pytest.fixture(scope="module")
def positive(mixed):
    return without_negative_scales(mixed)


def test_nothing_is_left_where_no_scale_is_negative_and_the_logits_are_the_same(positive):
    images = noise(20)
    absorbed = absorb_batch_norm(positive)
    onnx.checker.check_model(absorbed, full_check=True)
    assert len(norms(positive)) == 12
    assert norms(absorbed) == []
    assert logits_of(absorbed, images) == pytest.approx(logits_of(positive, images), abs=1e-4)


def test_negative_scales_pass_but_not_through_max_pooling(mixed):
    """Three of the twelve are pooled; in each of them some scale is negative."""
    images = noise(20)
    absorbed = absorb_batch_norm(mixed)
    pooled = [node.input[0] for node in mixed.graph.node if node.op_type == "MaxPool"]
    makers = {node.output[0]: node.name for node in mixed.graph.node}
    assert sorted(norms(absorbed)) == sorted(makers[name] for name in pooled)
    assert logits_of(absorbed, images) == pytest.approx(logits_of(mixed, images), abs=1e-4)


def test_the_given_graph_is_left_as_it_was(positive):
    before = positive.SerializeToString()
    absorb_batch_norm(positive)
    assert positive.SerializeToString() == before


def small_graph(rng, attributes, extra_output=False):
    """Return conv, ReLU, batch norm, conv with these attributes; with `extra_output` somebody else reads the ReLU."""
    values = {
        "w1": rng.normal(size=(3, 2, 1, 1)),
        "b1": rng.normal(size=3),
        "scale": rng.normal(size=3),
        "shift": rng.normal(size=3),
        "mean": rng.normal(size=3),
        "variance": rng.uniform(0.5, 2, 3),
        "w2": rng.normal(size=(4, 3, 3, 2)),
        "b2": rng.normal(size=4),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["z"], "first"),
        helper.make_node("Relu", ["z"], ["r"], "relu"),
        helper.make_node("BatchNormalization", ["r", "scale", "shift", "mean", "variance"], ["f"], "norm"),
        helper.make_node("Conv", ["f", "w2", "b2"], ["y"], "second", **attributes),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    if extra_output:
        nodes.append(helper.make_node("Neg", ["r"], ["n"], "reader"))
        outputs.append(helper.make_tensor_value_info("n", TensorProto.FLOAT, None))
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["samples", 2, 9, 8])
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "small", [given], outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model, x):
    return open_session(model.SerializeToString(), 1).run(["y"], {"x": x})[0]


@pytest.mark.parametrize(
    "attributes",
    [
        {"pads": [0, 0, 0, 0]},
        {"pads": [1, 1, 1, 1]},
        {"pads": [2, 0, 1, 3]},
        {"pads": [1, 1, 1, 1], "strides": [2, 3]},
        {"pads": [2, 1, 2, 1], "strides": [2, 1], "dilations": [2, 3]},
    ],
)
def test_the_border_is_exact_for_every_padding_stride_and_dilation(rng, attributes):
    model = small_graph(rng, attributes)
    absorbed = absorb_batch_norm(model)
    x = rng.normal(size=(3, 2, 9, 8)).astype(np.float32)
    assert norms(absorbed) == []
    assert run(absorbed, x) == pytest.approx(run(model, x), abs=1e-4)


@pytest.mark.parametrize(
    ("attributes", "extra_output"), [({"pads": [1, 1, 1, 1]}, True), ({"auto_pad": "SAME_UPPER"}, False)]
)
def test_a_batch_norm_stays_where_taking_it_out_would_be_wrong(rng, attributes, extra_output):
    model = small_graph(rng, attributes, extra_output)
    absorbed = absorb_batch_norm(model)
    x = rng.normal(size=(3, 2, 9, 8)).astype(np.float32)
    assert norms(absorbed) == ["norm"]
    assert np.array_equal(run(absorbed, x), run(model, x))
