"""What a stranger waits for: results/fresh_clone/result.json.

Command: `python -m experiments.fresh_clone`. Clones the last commit into a temporary folder and times `make repro`
there (set-up included), then `dvc repro` with nothing changed and with new targets.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from offramp.project.files import write_json
from offramp.project.host import describe

NEW_TARGET = "calibrate.targets=[0.72, 0.88]"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "offramp"
        subprocess.run(["git", "clone", "--quiet", ".", str(clone)], check=True)
        seconds = {"`make repro`, fresh clone, set-up included": _time(clone, "make", "repro")}
        seconds["`dvc repro`, nothing changed"] = _time(clone, "dvc", "repro")
        seconds["`dvc repro -P`, nothing changed"] = _time(clone, "dvc", "repro", "-P")
        seconds[f"`dvc exp run -S '{NEW_TARGET}'`"] = _time(clone, "dvc", "exp", "run", "-S", NEW_TARGET)
    result = {"command": "python -m experiments.fresh_clone", "host": describe(), "seconds": seconds}
    write_json(Path("results/fresh_clone/result.json"), result)
    for name, value in seconds.items():
        print(f"{value:7.1f} s  {name}")


def _time(clone: Path, *command: str) -> float:
    """Return how long a command takes in the clone, with the clone's own environment."""
    here = str(Path(sys.executable).parent)
    paths = [path for path in os.environ["PATH"].split(os.pathsep) if path != here]
    environment = os.environ | {"PATH": os.pathsep.join([str(clone / ".venv/bin"), *paths])}
    environment.pop("VIRTUAL_ENV", None)
    start = time.perf_counter()
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed in a fresh clone:\n{done.stdout}\n{done.stderr}")
    return round(time.perf_counter() - start, 1)


if __name__ == "__main__":
    main()
