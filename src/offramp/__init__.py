"""offramp: calibrated early exits from cached logits."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

__all__ = ["write_logits"]

try:
    __version__ = version("offramp")
except PackageNotFoundError:  # a stage run as a plain script from a checkout that was never installed
    __version__ = "0"


def __getattr__(name: str) -> Any:
    if name == "write_logits":  # on demand: a stage must not seem to depend on the cache because of this name
        from offramp.cache.writing import write_logits

        return write_logits
    raise AttributeError(f"module 'offramp' has no attribute {name!r}")
