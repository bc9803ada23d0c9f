"""Reading the results that README blocks are made of."""

import json
from pathlib import Path
from typing import Any


def read_json(path: Path) -> Any:
    """Return what a stage or an experiment wrote. Raises FileNotFoundError where it has not run."""
    return json.loads(path.read_text(encoding="utf-8"))
