"""Running a stage script: how long it took, and one line instead of a traceback for what the user got wrong."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from offramp.errors import InputError

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
