"""Commands that need more than offramp's own dependencies say so in one line where it is not installed."""

from collections.abc import Iterator
from contextlib import contextmanager

from offramp.errors import InputError


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Turn the failed import of a package of somebody else's into an InputError that names the extra to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("offramp"):
            raise
        raise InputError(f"this needs {error.name}, which is not installed: pip install 'offramp[{extra}]'") from None
