"""What training starts from: weights of the user's own, torchvision's, or the random ones a network is built with."""

from collections.abc import Iterable
from pathlib import Path

from offramp.errors import InputError
from offramp.networks.early_exit import EarlyExitNetwork
from offramp.networks.loading import load_initial_weights
from offramp.networks.parts import side_head_names
from offramp.params.networks import Definition
from offramp.params.training import Train, starts_pretrained


def start(network: EarlyExitNetwork, definition: Definition, settings: Train) -> None:
    """Load the weights that the definition names, if any, and print what keeps its random ones.

    Raises InputError for weights that do not fit, and where `heads_only` would freeze what has learnt nothing: the last
    head of a pretrained backbone for other classes.
    """
    if definition.initial_weights is not None:
        source = definition.initial_weights
        random = load_initial_weights(network, Path(source).expanduser())
    elif starts_pretrained(definition):
        from offramp.networks.backbones import Backbone
        from offramp.networks.pretrained import load_pretrained

        assert isinstance(network, Backbone)
        source, random = f"torchvision's {network.backbone}", load_pretrained(network)
    else:
        return
    if settings.mode == "heads_only":
        _require_trained_backbone(network, source, random)
    print(f"training starts from {source}" + (f"; random at first: {', '.join(random)}" if random else ""))


def _require_trained_backbone(network: EarlyExitNetwork, source: str, random: Iterable[str]) -> None:
    side_heads = side_head_names(network)
    parameters = {name for name, _ in network.named_parameters()}
    untrained = [name for name in random if name in parameters and name not in side_heads]
    if untrained:
        raise InputError(
            f"train.mode heads_only freezes everything but side heads, and {source} leaves {untrained[0]} at random "
            "values (it was trained on other classes); set train.mode to joint or two_phase in params.yaml"
        )
