"""Stage scripts: their arguments, how long they took, and one line in place of a traceback for a user's mistake.

Some run for float32 and for INT8, with files of their own, and are told which by their first argument.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from offramp.project.errors import InputError

USER_ERROR = 2  # exit status


def run(main: Callable[[], None]) -> None:
    name = Path(sys.argv[0]).stem
    start = time.perf_counter()
    try:
        main()
    except InputError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(USER_ERROR)
    print(f"{name} took {time.perf_counter() - start:.1f} s")


@dataclass(frozen=True)
class Precision:
    """A precision that a network is deployed in; its name ends the names of its files, float32's have none."""

    name: str

    def path(self, text: str) -> Path:
        """Return a path of this precision: `{}` in `text` stands for the ending, as in metrics/policies{}.json."""
        return Path(text.format("" if self.name == "float32" else f"_{self.name}"))


FLOAT32, INT8 = Precision("float32"), Precision("int8")
PRECISIONS = {precision.name: precision for precision in (FLOAT32, INT8)}


def stage_arguments(*choices: Sequence[str]) -> list[str]:
    """Return the stage script's arguments, one of each of `choices`. Raises InputError for any others."""
    given = sys.argv[1:]
    if len(given) != len(choices) or any(one not in allowed for one, allowed in zip(given, choices, strict=True)):
        wanted = ", then ".join(" or ".join(allowed) for allowed in choices)
        raise InputError(f"give {wanted}; got {' '.join(given) or 'nothing'}")
    return given
