"""Bundles: a policy and its network in a self-contained folder, for machines without torch.

`writing` makes one (needs onnx), `reading` checks and runs one (needs onnxruntime, neither torch nor onnx), `schema` is
what both agree on.

    from offramp.runtime.bundle import load
    bundle = load("bundle")
    answers = bundle(images)  # uint8 (samples, height, width, channels)
"""

from offramp.runtime.bundle.images import Failure
from offramp.runtime.bundle.reading import Bundle, Prediction, load

__all__ = ["Bundle", "Failure", "Prediction", "load"]
