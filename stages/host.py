"""Describe this machine in metrics/host.json, so that timings never travel."""

from pathlib import Path

from offramp.project.files import write_json
from offramp.project.host import describe
from offramp.project.stage import run


def main() -> None:
    write_json(Path("metrics/host.json"), describe())


if __name__ == "__main__":
    run(main)
