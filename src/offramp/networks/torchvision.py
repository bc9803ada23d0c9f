"""Any classifier of torchvision as an early-exit network: cut after some of its parts, with a head on each of them.

The classifier is built by torchvision, traced and cut (`offramp.networks.cutting`): every layer runs once, as in the
classifier itself. Its last child that has parameters (`fc`, `classifier`, `heads`, …), with what follows it, is the
last head; without side exits the network is the classifier. Parameters keep torchvision's names, so that published
weights load; those of the side head at exit k are called `exit_heads.k.…`.
"""

import difflib
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Self

import torch
from torch import Tensor, fx, nn

from offramp.networks.cutting import Trace, share_attributes
from offramp.networks.early_exit import EarlyExitNetwork
from offramp.networks.heads import pool_linear
from offramp.project.torchvision_import import torchvision

CHANNELS = 3
OTHER_ARGUMENTS: dict[str, dict[str, Any]] = {  # their auxiliary classifiers answer in training only; ours take over
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}


class Backbone(EarlyExitNetwork):
    """See the module. `exits` names the parts after which side exits stand, first to last, as in `layer1`.

    Raises ValueError for an unknown classifier, for images that it does not take, for parts that it does not have or
    after which it cannot be cut, and InputError where torchvision is not installed.
    """

    def __init__(
        self,
        backbone: str,
        exits: Sequence[str],
        image_shape: Sequence[int],
        n_classes: int,
        head: str = "pool_linear",
    ) -> None:
        super().__init__()
        if head != "pool_linear":
            raise ValueError(f"head must be one of: pool_linear; got {head!r}")
        models = torchvision().models
        classifier = classifier_of(backbone, image_shape, n_classes)
        last = [name for name, child in classifier.named_children() if any(True for _ in child.parameters())][-1]
        self.backbone = backbone
        self._adopt(classifier)
        trace = Trace(classifier, _leaves(models))
        self._segments = trace.segments(exits, last)
        shapes = _feature_shapes(backbone, self._segments[:-1], image_shape)
        channels_last = isinstance(classifier, models.SwinTransformer)
        class_token = isinstance(classifier, models.VisionTransformer)
        side_heads = [pool_linear(shape, n_classes, channels_last, class_token) for shape in shapes[:-1]]
        self.exit_heads = nn.ModuleDict({str(k): side_head for k, side_head in enumerate(side_heads, start=1)})
        self.stages = list(zip(self._segments[:-1], [*side_heads, self._segments[-1]], strict=True))
        self.train()

    def _adopt(self, classifier: nn.Module) -> None:
        """Take over children and parameters under the classifier's own names."""
        taken = {"stages", "exit_heads", "first", "backbone", "exits"} & {*dict(classifier.named_children())}
        assert not taken, f"torchvision uses names that are ours: {taken}"
        for name, child in classifier.named_children():
            self.add_module(name, child)
        for name, parameter in classifier.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        for name, buffer in classifier.named_buffers(recurse=False):
            self.register_buffer(name, buffer)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Change all tensors, as moves to a device do; the segments read the same ones afterwards."""
        super()._apply(fn, recurse)
        for segment in self._segments:
            share_attributes(segment, self)
        return self


def classifier_of(name: str, image_shape: Sequence[int], n_classes: int) -> nn.Module:
    """Return torchvision's untrained classifier of this name.

    Raises ValueError for an unknown one, with the names that are like it, and for images that are not what it takes.
    """
    models = torchvision().models
    channels, height, width = image_shape
    known = models.list_models(module=models)  # classifiers of images, and nothing else of torchvision
    if name not in known:
        like = difflib.get_close_matches(name, known, n=5) or known
        raise ValueError(f"backbone must be a classifier of torchvision, like {', '.join(like)}; got {name!r}")
    if channels != CHANNELS:
        raise ValueError(f"classifiers of torchvision take images of 3 channels; got {channels}")
    arguments = OTHER_ARGUMENTS.get(name, {}) | _size_argument(models, name, height, width)
    try:
        classifier: nn.Module = models.get_model(name, weights=None, num_classes=n_classes, **arguments)
    except (AssertionError, ValueError) as error:
        raise ValueError(f"{name} does not take images of {height}×{width} pixels: {error}") from None
    return classifier


def _size_argument(models: ModuleType, name: str, height: int, width: int) -> dict[str, Any]:
    """Return the argument that fixes the size of images, for the few classifiers that have one."""
    module = models.get_model_builder(name).__module__.rpartition(".")[2]
    if module == "maxvit":
        return {"input_size": (height, width)}
    if module != "vision_transformer":
        return {}
    if height != width:
        raise ValueError(f"{name} takes square images; got {height}×{width} pixels")
    return {"image_size": height}


def _leaves(models: ModuleType) -> list[type[nn.Module]]:
    """Return the modules that ask for their training mode, or make tensors, in their own code."""
    swin, maxvit = models.swin_transformer, models.maxvit
    attention = [swin.ShiftedWindowAttention, swin.ShiftedWindowAttentionV2]
    return [torchvision().ops.StochasticDepth, *attention, maxvit.RelativePositionalMultiHeadAttention]


def _feature_shapes(name: str, segments: Sequence[fx.GraphModule], image_shape: Sequence[int]) -> list[torch.Size]:
    """Return the shape of the features after every segment, for one image."""
    features: Tensor = torch.zeros(1, *image_shape)
    shapes = []
    for segment in segments:
        try:
            with torch.inference_mode():
                features = segment.eval()(features)
        except (RuntimeError, AssertionError) as error:
            size = "×".join(map(str, image_shape[1:]))
            reason = str(error).splitlines()[0]
            raise ValueError(f"{name} does not take images of {size} pixels: {reason}") from None
        if not isinstance(features, Tensor):
            raise ValueError(f"{name} cannot be cut where {type(features).__name__} goes on, which is no tensor")
        shapes.append(features.shape)
    return shapes
