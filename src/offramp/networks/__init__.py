"""Early-exit networks, their weights and MACs; training in a folder of its own. Knows no threshold."""

from offramp.networks import params  # registers the networks

__all__ = ["params"]
