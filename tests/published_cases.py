"""Small data sets in the formats that MNIST, CIFAR, SVHN and STL-10 are published in, and a server for them."""

import functools
import gzip
import hashlib
import http.server
import io
import struct
import tarfile
import threading
from contextlib import contextmanager

import numpy as np
from scipy.io import savemat

from offramp.sources.published import PUBLISHED, Published, PublishedFile

N = {"train": 60, "test": 30}
CIFAR = {"CIFAR10": (10, 1), "CIFAR100": (100, 2)}


def drawn(dataset):
    """Return the images and labels of both splits of a small data set, as they should be read."""
    side, channels, classes = {
        "MNIST": (9, 1, 10), "FashionMNIST": (9, 1, 10), "CIFAR10": (32, 3, 10), "CIFAR100": (32, 3, 100),
        "SVHN": (32, 3, 10), "STL10": (96, 3, 10),
    }[dataset]  # fmt: skip
    rng = np.random.default_rng(len(dataset))
    shape = (side, side, channels) if channels == 3 else (side, side)
    n = {split: max(count, classes * 3) if split == "train" else count for split, count in N.items()}
    return {
        split: (rng.integers(0, 256, (n[split], *shape), dtype=np.uint8), np.arange(n[split]) % classes) for split in N
    }


def files(dataset):
    """Return the published files' contents by name."""
    splits = drawn(dataset)
    if "MNIST" in dataset:
        return dict(_idx(splits))
    if dataset == "SVHN":
        return {f"{split}_32x32.mat": _matlab(*rows) for split, rows in splits.items()}
    if dataset == "STL10":
        return {"stl10_binary.tar.gz": tar(_stl10(splits))}
    return {f"cifar-{dataset[5:]}-binary.tar.gz": tar(_cifar(dataset, splits))}


def table(dataset, contents, *servers):
    """Return the table of published data sets, for these contents at these addresses."""
    about = PUBLISHED[dataset]
    found = {
        role: PublishedFile(
            file.name,
            hashlib.md5(contents[file.name]).hexdigest(),
            tuple(f"{server}/{file.name}" for server in servers),
        )
        for role, file in about.files.items()
    }
    return {dataset: Published(about.format, found, about.n_train, about.n_test)}


def tar(members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def _idx(splits):
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images, labels = splits[split]
        header = struct.pack(">IIII", 0x803, *images.shape)
        yield f"{prefix}-images-idx3-ubyte.gz", gzip.compress(header + images.tobytes())
        header = struct.pack(">II", 0x801, len(labels))
        yield f"{prefix}-labels-idx1-ubyte.gz", gzip.compress(header + labels.astype(np.uint8).tobytes())


def _cifar(dataset, splits):
    classes, label_bytes = CIFAR[dataset]
    names = [f"class_{k}" for k in range(classes)]
    folder = "cifar-10-batches-bin" if classes == 10 else "cifar-100-binary"
    records = {
        split: b"".join(
            bytes([0] * (label_bytes - 1) + [label]) + image.transpose(2, 0, 1).tobytes()
            for image, label in zip(*rows, strict=True)
        )
        for split, rows in splits.items()
    }
    if classes == 10:
        part = len(records["train"]) // 5
        for k in range(5):
            yield f"{folder}/data_batch_{k + 1}.bin", records["train"][k * part : (k + 1) * part]
        yield f"{folder}/batches.meta.txt", "\n".join([*names, "", ""]).encode()
        yield f"{folder}/test_batch.bin", records["test"]
    else:
        yield f"{folder}/coarse_label_names.txt", b"other\nnames\n"
        yield f"{folder}/fine_label_names.txt", "\n".join([*names, ""]).encode()
        yield f"{folder}/train.bin", records["train"]
        yield f"{folder}/test.bin", records["test"]


def _matlab(images, labels):
    file = io.BytesIO()
    y = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
    savemat(file, {"X": images.transpose(1, 2, 3, 0), "y": y}, do_compression=True)
    return file.getvalue()


def _stl10(splits):
    for split, (images, labels) in splits.items():
        yield f"stl10_binary/{split}_X.bin", images.transpose(0, 3, 2, 1).tobytes()  # by column
        yield f"stl10_binary/{split}_y.bin", (labels + 1).astype(np.uint8).tobytes()
    yield "stl10_binary/class_names.txt", "\n".join(f"class_{k}" for k in range(10)).encode()
    yield "stl10_binary/unlabeled_X.bin", bytes(1000)


@contextmanager
def serving(contents, ranges=True, cut=None):
    """Yield an address that serves these contents, and the list of ranges that it was asked for.

    With `ranges` False the whole file is always sent. `cut` bytes are sent of each answer before the connection ends.
    """
    asked = []
    handler = functools.partial(_Handler, contents, ranges, cut, asked)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, contents, ranges, cut, asked, *arguments):
        self.contents, self.ranges, self.cut, self.asked = contents, ranges, cut, asked
        super().__init__(*arguments)

    def do_GET(self):
        content = self.contents.get(self.path[1:])
        wanted = self.headers.get("Range")
        self.asked.append(wanted)
        if content is None:
            return self.send_error(404)
        start = int(wanted[len("bytes=") : -1]) if wanted and self.ranges else 0
        if start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : None if self.cut is None else start + self.cut])
        return None

    def log_message(self, *_):
        """Say nothing."""
