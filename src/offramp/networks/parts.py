"""Which of a network is its backbone and which its side heads.

The backbone is every segment, the last head, and whatever else is not a side head's alone: a layer or a parameter that
a side head shares with a segment or with the last head is backbone.
"""

from torch import Tensor, nn

from offramp.networks.early_exit import EarlyExitNetwork


def side_head_parameters(network: EarlyExitNetwork) -> list[nn.Parameter]:
    """Return the parameters that side heads alone use, in the network's order."""
    names = side_head_names(network)
    return [parameter for name, parameter in network.named_parameters() if name in names]


def backbone_parameters(network: EarlyExitNetwork) -> list[nn.Parameter]:
    """Return every other parameter, in the network's order."""
    names = side_head_names(network)
    return [parameter for name, parameter in network.named_parameters() if name not in names]


def side_head_names(network: EarlyExitNetwork) -> set[str]:
    """Return the names in the state dict of the parameters and buffers that side heads alone use."""
    backbone, side_heads = _split(network)
    used = {id(tensor) for module in side_heads for tensor in _tensors(module)}
    used -= {id(tensor) for module in backbone for tensor in _tensors(module)}
    return {name for name, tensor in network.state_dict(keep_vars=True).items() if id(tensor) in used}


def train_side_heads_only(network: EarlyExitNetwork) -> None:
    """Put side heads in training mode and the backbone, its batch norm and dropout, in evaluation mode."""
    backbone, side_heads = _split(network)
    network.eval()
    for module in side_heads:
        module.train()
    for module in backbone:  # again, for layers that a side head shares
        module.eval()


def _split(network: EarlyExitNetwork) -> tuple[list[nn.Module], list[nn.Module]]:
    """Return the backbone's modules and the side heads."""
    segments, heads = [segment for segment, _ in network.stages], [head for _, head in network.stages]
    return [*segments, heads[-1]], heads[:-1]


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
