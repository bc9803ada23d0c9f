"""The one place that imports torchvision, also where only its Python code can be used.

The wheel of torchvision for Linux is linked against CUDA, whichever build of torch is installed. With a CPU build its
compiled operators (boxes, regions, decoders: no data set or classifier calls them) cannot be loaded. torchvision allows
that with one exception: it describes the shapes of `nms`, and torch refuses to describe an undeclared operator.
Declaring it, without an implementation, is enough. Importing this module imports torch.
"""

import importlib
import sys
import warnings
from types import ModuleType

import torch

from offramp.project.errors import InputError

UNDECLARED = "operator torchvision::nms does not exist"
SCHEMAS = [f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor" for name in ("nms", "qnms")]
_declared: list[torch.library.Library] = []  # a declaration lasts as long as its library


def torchvision() -> ModuleType:
    """Return the package `torchvision`. Raises InputError, naming the extra to install, where there is none.

    Where its operators load, this is an import and nothing else.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it reports decoders that it cannot load
        try:
            return importlib.import_module("torchvision")
        except ModuleNotFoundError as error:
            if error.name != "torchvision":
                raise
            raise InputError(
                "data sets and networks of torchvision need it installed: pip install 'offramp[pipeline]'"
            ) from None
        except RuntimeError as error:
            if UNDECLARED not in str(error):
                raise
        _declare()
        return importlib.import_module("torchvision")


def _declare() -> None:
    """Declare the operators, and forget the modules of the import that stopped half-way."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in SCHEMAS:
        library.define(schema)
    _declared.append(library)
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
