"""ImageNet weights that torchvision publishes, as the starting point of training.

A file is downloaded once into ~/.cache/offramp/weights and held against the digest in its name before it is read.
Reading runs nothing: torch's restricted reader takes tensors alone.
"""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor

from offramp.errors import InputError
from offramp.networks.backbones import Backbone
from offramp.networks.torchvision_import import torchvision

FOLDER = Path("~/.cache/offramp/weights")
DIGEST = re.compile(r"-([0-9a-f]{8,})\.pth$")  # the first digits of the sha256, at the end of a published name
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
    url = torchvision().models.get_model_weights(network.backbone).DEFAULT.url
    return load_published(network, read_published(url, folder.expanduser()))


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


def read_published(url: str, folder: Path) -> dict[str, Tensor]:
    """Return the state dict at a URL, whose file is kept in `folder`. Raises InputError as `load_pretrained` does."""
    path = _file(url, folder)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has no class of its own for what it cannot read
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} is not a readable state dict: {reason}") from None
    return {OLD_NAME.sub(r"\1\2", name): tensor for name, tensor in content.items()}


def _file(url: str, folder: Path) -> Path:
    """Return the file of a URL, downloaded where it is not there yet, after comparing its digest."""
    path = folder / url.rpartition("/")[2]
    digest = DIGEST.search(path.name)
    assert digest is not None, f"torchvision publishes names with a digest; this is {path.name}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), hash_prefix=digest[1], progress=False)
        except (URLError, OSError, RuntimeError) as error:
            raise InputError(
                f"{url} could not be downloaded ({error}); put it at {path} yourself, or set pretrained: false"
            ) from None
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(digest[1]):
        raise InputError(f"{path} is not the file that was published: its sha256 is {found}; remove it")
    return path


def _interpolated(network: Backbone, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    patch = network.state_dict()["conv_proj.weight"].shape[-1]
    tokens = network.state_dict()[POSITIONS].shape[1] - 1
    size = round(tokens**0.5) * patch
    interpolate = torchvision().models.vision_transformer.interpolate_embeddings
    return dict(interpolate(size, patch, OrderedDict(given)))
