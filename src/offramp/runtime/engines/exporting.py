"""From a trained network to one ONNX graph with every exit's logits and features; see `runtime.engines.graphs`."""

import json
import logging
import warnings
from dataclasses import asdict

import torch
from onnx import ModelProto, helper
from torch import Tensor, nn

from offramp.networks.early_exit import EarlyExitNetwork
from offramp.networks.file import Description
from offramp.runtime.engines.graphs import IMAGES, features_name, logits_name

OPSET = 20


class _WholeNetwork(nn.Module):
    """Every head and every segment's features, from uint8 images (samples, height, width, channels)."""

    def __init__(self, network: EarlyExitNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> list[Tensor]:
        outputs = []
        features = images.permute(0, 3, 1, 2).to(torch.float32).div_(255).contiguous()  # as `to_input`, in plain order
        for segment, head in self.network.stages:
            features = segment(features)
            outputs += [features, head(features)]
        return outputs


def export(network: EarlyExitNetwork, description: Description, model_sha256: str) -> ModelProto:
    """Return the graph, with the network's description and digest in its metadata. Ends in evaluation mode."""
    channels, height, width = description.image_shape
    example = torch.zeros(2, height, width, channels, dtype=torch.uint8)
    names = [name(k) for k in range(len(network.exits)) for name in (features_name, logits_name)]
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it reports what torchvision we lack
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _WholeNetwork(network.cpu()).eval(),
            (example,),
            dynamo=True,
            input_names=[IMAGES],
            output_names=names,
            dynamic_shapes=({0: torch.export.Dim("samples")},),
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    model: ModelProto = program.model_proto
    _forget_sources(model)
    about = {**asdict(description), "exits": network.exits, "model_sha256": model_sha256}
    helper.set_model_props(model, {"offramp": json.dumps(about, ensure_ascii=False)})
    return model


def _forget_sources(model: ModelProto) -> None:
    """Drop the exporter's notes: stack traces with paths of this machine, which would change the bytes elsewhere."""
    del model.graph.metadata_props[:]
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
