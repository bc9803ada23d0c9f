"""Bundles: a policy and its network in a self-contained folder, for machines without torch.

`writing` makes one (needs onnx), `reading` checks and runs one (needs onnxruntime, neither torch nor onnx), `schema` is
what both agree on.

    from offramp.bundle import load
    bundle = load("bundle")
    answers = bundle(images)  # uint8 (samples, height, width, channels)
"""

from offramp.bundle.images import Failure
from offramp.bundle.reading import Bundle, Prediction, load

__all__ = ["Bundle", "Failure", "Prediction", "load"]
