"""A network whose answers differ from image to image, with and without negative scales; one export serves both."""

import numpy as np
import torch
from onnx import ModelProto, numpy_helper

from cases.exported import exported, lively_network, noise
from offramp.networks.early_exit import to_input


def settled_graph() -> ModelProto:
    """Return the graph of an untrained network whose batch norms, some scales of them negative, have seen images."""
    network = lively_network()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
            module.momentum = 1.0
            module.train()
    network(to_input(torch.from_numpy(noise(256, seed=3)).permute(0, 3, 1, 2)))
    return exported(network)


def without_negative_scales(graph: ModelProto) -> ModelProto:
    """Return a copy in which all batch norms can be taken out, as in most trained networks."""
    model = ModelProto()
    model.CopyFrom(graph)
    scales = {node.input[1] for node in model.graph.node if node.op_type == "BatchNormalization"}
    for tensor in model.graph.initializer:
        if tensor.name in scales:
            tensor.CopyFrom(numpy_helper.from_array(np.abs(numpy_helper.to_array(tensor)), tensor.name))
    return model
