"""ImageNet weights that torchvision publishes, as the starting point of training.

torchvision downloads a file once, here into ~/.cache/offramp/weights, and compares its sha256 with the digest in its
name. It is read with `weights_only`, which loads tensors and runs no code of the file.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, hub

from offramp.networks.torchvision import Backbone
from offramp.project.errors import InputError
from offramp.project.files import sha256
from offramp.project.torchvision_import import torchvision

FOLDER = Path("~/.cache/offramp/weights")
OLD_NAME = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")  # of DenseNets, as they were published
COUNTER = "num_batches_tracked"  # of batch norm, absent from old files; nothing depends on it
SHOWN = 5  # names in a message
POSITIONS = "encoder.pos_embedding"  # one per token of a ViT


def load_pretrained(network: Backbone, folder: Path = FOLDER) -> list[str]:
    """Load torchvision's weights for ImageNet (its default ones) into a backbone; return the names that keep theirs.

    These are the side heads' and those of another shape: the last classifier's, unless there are 1,000 classes. A ViT
    for images of another size gets its positions interpolated. Nothing has changed where it raises InputError: without
    a connection and without the file, for a file that is not the published one, or where none is published.
    """
    weights = torchvision().models.get_model_weights(network.backbone).DEFAULT
    return load_published(network, read_published(weights, folder.expanduser()))


def load_published(network: Backbone, given: Mapping[str, Tensor]) -> list[str]:
    """Load the state dict of the same classifier for other classes or images; see `load_pretrained`.

    Raises InputError where a tensor that is neither a side head's nor the last head's is missing or does not fit.
    """
    own = network.state_dict()
    if POSITIONS in own and POSITIONS in given and own[POSITIONS].shape != given[POSITIONS].shape:
        given = _interpolated(network, given)
    fitting = {name: values for name, values in given.items() if name in own and own[name].shape == values.shape}
    kept = [name for name in own if name not in fitting]
    heads = {id(tensor) for _, head in network.stages for tensor in (*head.parameters(), *head.buffers())}
    tensors = network.state_dict(keep_vars=True)
    others = [name for name in kept if id(tensors[name]) not in heads and not name.endswith(COUNTER)]
    if others:
        raise InputError(f"these weights do not fit {network.backbone}: {', '.join(others[:SHOWN])}")
    network.load_state_dict(fitting, strict=False)
    return kept


def read_published(weights: Any, folder: Path) -> dict[str, Tensor]:
    """Return a state dict that torchvision publishes, whose file is kept in `folder`.

    Raises InputError as `load_pretrained` does.
    """
    path = folder / weights.url.rpartition("/")[2]
    _require_published(path)
    try:
        content = weights.get_state_dict(
            model_dir=str(folder), map_location="cpu", progress=False, check_hash=True, weights_only=True
        )
    except Exception as error:  # torch has no class of its own for what it cannot download or read
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{weights.url} could not be downloaded or read ({reason}); put it at {path} yourself, or set pretrained: "
            "false"
        ) from None
    return {OLD_NAME.sub(r"\1\2", name): tensor for name, tensor in content.items()}


def _require_published(path: Path) -> None:
    """Raise InputError for a file that has another digest than its name says: torch compares it at download only."""
    digest = hub.HASH_REGEX.search(path.name)
    if digest and path.exists() and not (found := sha256(path)).startswith(digest[1]):
        raise InputError(f"{path} is not the file that was published: its sha256 is {found}; remove it")


def _interpolated(network: Backbone, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    patch = network.state_dict()["conv_proj.weight"].shape[-1]
    tokens = network.state_dict()[POSITIONS].shape[1] - 1
    size = round(tokens**0.5) * patch
    interpolate = torchvision().models.vision_transformer.interpolate_embeddings
    return dict(interpolate(size, patch, OrderedDict(given)))
