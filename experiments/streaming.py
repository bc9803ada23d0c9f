"""What preparing many images costs in memory and time: results/streaming/result.json.

Command: `python -m experiments.streaming`. Writes small images in a temporary folder, once as a file each and once as
a Parquet file of one row group, and runs the prepare stage on them in a process of its own, whose largest resident set
the system reports. A tenth of the images first: what memory grows by is what an image costs. The images, too, are
written by a process of its own, because a new process starts with the record of the one that starts it.
"""

import io
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image
from tqdm import tqdm

from offramp.project.files import write_json
from offramp.project.host import describe

STAGE = Path(__file__).resolve().parents[1] / "stages" / "prepare.py"
COUNTS = (20_000, 200_000)  # images
SIDE = 16  # pixels
CLASSES = 10
TEST_EVERY = 10  # one image in ten is for testing
UNIT = 1 if sys.platform == "darwin" else 1024  # bytes, of what the system reports


def main() -> None:
    rows = [_measure(kind, count) for count in COUNTS for kind in WRITERS]
    result = {
        "command": "python -m experiments.streaming",
        "host": describe(),
        "image": f"{SIDE}×{SIDE} RGB, PNG",
        "runs": rows,
        "bytes_per_further_image": {kind: _growth(rows, kind) for kind in WRITERS},
    }
    write_json(Path("results/streaming/result.json"), result)
    print(f"bytes of memory per further image: {result['bytes_per_further_image']}")


def _measure(kind: str, count: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        writer = multiprocessing.get_context("spawn").Process(target=WRITERS[kind], args=(folder, count))
        writer.start()
        writer.join()
        if writer.exitcode:
            raise SystemExit(f"writing {count} images for {kind} failed")
        row = _prepare(folder, kind, count)
    print(row)
    return row


def _images(count: int) -> Iterator[tuple[int, bytes]]:
    """Yield labels, in order, and images of noise, the lists by class that folders give."""
    rng = np.random.default_rng(17)
    for number in tqdm(range(count), desc="images", disable=None, leave=False):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(file, "PNG", compress_level=1)
        yield number * CLASSES // count, file.getvalue()


def _write_folder(folder: Path, count: int) -> None:
    for split in ("train", "test"):
        for label in range(CLASSES):
            (folder / "images" / split / str(label)).mkdir(parents=True)
    for number, (label, content) in enumerate(_images(count)):
        split = "test" if number % TEST_EVERY == 0 else "train"
        (folder / "images" / split / str(label) / f"{number}.png").write_bytes(content)
    _write_parameters(folder, {"source": "folder", "root": "images"})


def _write_parquet(folder: Path, count: int) -> None:
    """Write each split as one row group, which a reader could easily take as a whole."""
    columns: dict[str, tuple[list[bytes], list[int]]] = {"train": ([], []), "test": ([], [])}
    for number, (label, content) in enumerate(_images(count)):
        contents, labels = columns["test" if number % TEST_EVERY == 0 else "train"]
        contents.append(content)
        labels.append(label)
    for split, (contents, labels) in columns.items():
        table = pa.table({"image": pa.array(contents, pa.binary()), "label": pa.array(labels, pa.int64())})
        pq.write_table(table, folder / f"{split}_source.parquet", row_group_size=count)
    files = {split: f"{split}_source.parquet" for split in columns}
    _write_parameters(folder, {"source": "parquet", **files})


WRITERS = {"folder": _write_folder, "parquet": _write_parquet}


def _write_parameters(folder: Path, dataset: dict[str, str]) -> None:
    parameters = {"seed": 17, "data": {"name": "many"}, "datasets": {"many": dataset | {"val": 1000}}}
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters), encoding="utf-8")


def _prepare(folder: Path, kind: str, count: int) -> dict[str, object]:
    """Run the stage; return its time and the most memory that was resident."""
    environment = {name: value for name, value in os.environ.items() if name != "DVC_STAGE"}
    start = time.perf_counter()
    stage = subprocess.Popen([sys.executable, str(STAGE)], cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(stage.pid, 0)
    stage.returncode = os.waitstatus_to_exitcode(status)
    if stage.returncode:
        raise SystemExit(f"preparing {count} images from {kind} failed")
    return {
        "source": kind,
        "images": count,
        "seconds": round(time.perf_counter() - start, 1),
        "peak_mib": round(usage.ru_maxrss * UNIT / 2**20, 1),
    }


def _growth(rows: list[dict[str, object]], kind: str) -> int:
    peak = {row["images"]: float(str(row["peak_mib"])) for row in rows if row["source"] == kind}
    few, many = COUNTS
    return round((peak[many] - peak[few]) * 2**20 / (many - few))


if __name__ == "__main__":
    main()
