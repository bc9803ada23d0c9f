"""Where the source of the user's own network is, found without running any of it. Needs no torch.

`models.NAME.factory` in params.yaml names a function as `package.module:function`; see `offramp.networks.factory`.
"""

import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

from offramp.networks.params import Definition, Factory
from offramp.project.declared import PARAMS_FILE
from offramp.project.errors import InputError
from offramp.project.inputs import NamedFile
from offramp.project.sections import InputFile


def factory_file(definition: Definition) -> Path | None:
    """Return the source file of a definition's factory, None where it has none; nothing of it is run.

    Raises InputError where no file of Python holds the factory's module.
    """
    if not isinstance(definition, Factory):
        return None
    path: list[str] = [str(Path.cwd()), *sys.path]
    origin = None
    names = definition.factory.partition(":")[0].split(".")
    for place in range(len(names)):
        spec = PathFinder.find_spec(".".join(names[: place + 1]), path)
        path = list(spec.submodule_search_locations or []) if spec is not None else []
        origin = None if spec is None else spec.origin
    if origin is None or not Path(origin).is_file():
        raise InputError(
            f"factory {definition.factory}: there is no module {'.'.join(names)} here ({Path.cwd()}); change it in "
            f"{PARAMS_FILE}"
        )
    file, here = Path(origin), Path.cwd()
    return file.relative_to(here) if file.is_relative_to(here) else file


def factory_files(definition: Definition) -> Iterator[NamedFile]:
    """Yield the source file of a definition's factory, where it has one, as `offramp.project.inputs` takes files."""
    path = factory_file(definition)
    if path is not None:
        yield NamedFile("factory", path, InputFile())
