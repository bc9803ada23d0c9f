"""The user's own network: a function of theirs that returns its segments and heads.

`models.NAME.factory` names it as `package.module:function`. It is called as `function(image_shape=…, n_classes=…,
**arguments)`, image_shape being (channels, height, width), and returns one (segment, head) pair of modules per exit,
first to last. Modules are looked for where params.yaml is before anywhere else. Importing them runs them, so a factory
is called only where the user's own params.yaml names it: `require_named`, for files that may come from elsewhere.
"""

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from offramp.networks.early_exit import EarlyExitNetwork
from offramp.project.declared import PARAMS_FILE
from offramp.project.errors import InputError
from offramp.project.yaml import read_yaml


class FromFactory(EarlyExitNetwork):
    """See the module. Parameters are called `segments.k.…` and `heads.k.…`, k being the exit's number.

    Modules may be shared among segments and heads. Raises ValueError, naming the factory, for one that cannot be found
    or called, and where it returns something else than pairs that give logits (samples, classes) one after the other.
    """

    def __init__(
        self, factory: str, image_shape: Sequence[int], n_classes: int, arguments: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        function = _find(factory)
        try:
            pairs = function(image_shape=tuple(image_shape), n_classes=n_classes, **(arguments or {}))
        except TypeError as error:  # an argument that is missing, or not known
            raise ValueError(f"factory {factory} cannot be called: {error}") from error
        self.stages = _pairs(factory, pairs)
        self.segments = nn.ModuleDict({str(k): segment for k, (segment, _) in enumerate(self.stages, start=1)})
        self.heads = nn.ModuleDict({str(k): head for k, (_, head) in enumerate(self.stages, start=1)})
        _require_logits(factory, self, image_shape, n_classes)


def require_named(factory: object, source: Path) -> None:
    """Raise InputError where no model of ./params.yaml has this factory, which reading the file `source` would run."""
    models = read_yaml(PARAMS_FILE).get("models") if PARAMS_FILE.exists() else None
    sections = models.values() if isinstance(models, dict) else ()
    named = [section["factory"] for section in sections if isinstance(section, dict) and "factory" in section]
    if not isinstance(factory, str) or factory not in named:
        raise InputError(
            f"{source} holds a network of the factory {factory!r}, which is not run, because no models.NAME.factory in "
            f"{PARAMS_FILE} here ({Path.cwd()}) names it; if you trust it, name it there"
        )


def _find(factory: str) -> Any:
    module_name, _, function_name = factory.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # of something that it imports
        raise ValueError(f"factory {factory}: there is no module {error.name} here ({here})") from None
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ValueError(f"factory {factory}: {module.__file__} has no function {function_name}")
    return function


def _pairs(factory: str, found: Any) -> list[tuple[nn.Module, nn.Module]]:
    pairs = list(found) if isinstance(found, list | tuple) else []
    if not pairs or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(part, nn.Module) for part in pair)
        for pair in pairs
    ):
        given = type(found).__name__ if not pairs else f"{len(pairs)} items"
        raise ValueError(
            f"factory {factory} must return a list with a pair of modules, (segment, head), for every exit; got {given}"
        )
    return [(segment, head) for segment, head in pairs]


def _require_logits(factory: str, network: nn.Module, image_shape: Sequence[int], n_classes: int) -> None:
    """Pass two images through the network. Raises ValueError where an exit does not answer with logits."""
    training = network.training
    try:
        with torch.inference_mode():
            logits = network.eval()(torch.zeros(2, *image_shape))
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        size = "×".join(map(str, image_shape))
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"factory {factory}: the network does not run on images of {size}: {reason}") from error
    network.train(training)
    for k, values in enumerate(logits, start=1):
        given = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        if given != (2, n_classes):
            raise ValueError(
                f"factory {factory}: the head of exit_{k} must give logits (samples, {n_classes}); it gives {given} "
                "for 2 images"
            )
