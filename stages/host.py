"""Describe this machine in metrics/host.json, so that timings never travel."""

from pathlib import Path

from offramp.project.host import write_host
from offramp.project.stage import run


def main() -> None:
    write_host(Path("metrics/host.json"))


if __name__ == "__main__":
    run(main)
