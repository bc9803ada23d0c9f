"""A description of this machine, so that timings never travel: metrics/host.json.

Imports nothing heavy: the stage runs at every `dvc repro`.
"""

import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "onnxruntime", "numpy", "pyarrow", "pillow", "scipy", "dvc")


def describe() -> dict[str, object]:
    """Return processor, cores, memory, accelerators, system and the versions of what results depend on."""
    return {
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(_memory_bytes() / 2**30, 1),
        "gpu": _gpus() or "none",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def summary(host: dict[str, object]) -> str:
    return f"{host['cpu']}, {host['cores']} cores, {host['memory_gib']} GiB, GPU {host['gpu']}"


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # not told on this system
        return 0


def _gpus() -> str:
    if shutil.which("nvidia-smi") is None:
        return ""
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    return ", ".join(answer.stdout.split("\n")).strip(", ") if answer.returncode == 0 else ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
