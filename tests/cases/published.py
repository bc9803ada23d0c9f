"""Small data sets in the formats that MNIST, CIFAR, SVHN and STL-10 are published in, and a server for them."""

import functools
import gzip
import hashlib
import http.server
import io
import pickle
import struct
import tarfile
import threading
from contextlib import contextmanager

import numpy as np
from scipy.io import savemat

from offramp.data.sources import torchvision as source
from offramp.project.torchvision_import import torchvision

N = {"train": 60, "test": 30}
NOWHERE = "http://127.0.0.1:9"  # no server listens there


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


def publish(monkeypatch, dataset, server=NOWHERE):
    """Let torchvision expect a small data set at `server`; return its files and the members of its archive."""
    splits = drawn(dataset)
    kind = getattr(torchvision().datasets, dataset)
    monkeypatch.setitem(source.N_IMAGES, dataset, tuple(len(splits[split][1]) for split in N))
    members = {}
    if "MNIST" in dataset:
        files = dict(_idx(splits))
        monkeypatch.setattr(kind, "mirrors", [f"{server}/absent/", f"{server}/"])
        monkeypatch.setattr(kind, "resources", [(name, md5(content)) for name, content in files.items()])
    elif dataset == "SVHN":
        files = {f"{split}_32x32.mat": _matlab(*rows) for split, rows in splits.items()}
        listed = {name.partition("_")[0]: [f"{server}/{name}", name, md5(files[name])] for name in files}
        monkeypatch.setattr(kind, "split_list", listed)
    else:
        members = dict(_stl10(splits) if dataset == "STL10" else _cifar(dataset, splits))
        files = {kind.filename: tar({f"{kind.base_folder}/{name}": content for name, content in members.items()})}
        monkeypatch.setattr(kind, "url", f"{server}/{kind.filename}")
        monkeypatch.setattr(kind, "tgz_md5", md5(files[kind.filename]))
        for attribute in ("train_list", "test_list"):
            listed = [[name, md5(members[name])] for name, _ in getattr(kind, attribute)]
            monkeypatch.setattr(kind, attribute, listed)
        if dataset != "STL10":
            monkeypatch.setattr(kind, "meta", kind.meta | {"md5": md5(members[kind.meta["filename"]])})
    return files, members


def md5(content):
    return hashlib.md5(content).hexdigest()


def tar(members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in members.items():
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
    n_classes = int(dataset[5:])
    parts = {"train": 5 if n_classes == 10 else 1, "test": 1}
    names = {
        10: {"train": [f"data_batch_{k}" for k in range(1, 6)], "test": ["test_batch"]},
        100: {"train": ["train"], "test": ["test"]},
    }[n_classes]
    key = "labels" if n_classes == 10 else "fine_labels"
    for split, (images, labels) in splits.items():
        rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
        shares = zip(names[split], np.split(rows, parts[split]), np.split(labels, parts[split]), strict=True)
        for name, some, their in shares:
            yield name, pickle.dumps({"data": some, key: their.tolist()})
    meta, key = ("batches.meta", "label_names") if n_classes == 10 else ("meta", "fine_label_names")
    yield meta, pickle.dumps({key: [f"class_{k}" for k in range(n_classes)]})


def _matlab(images, labels):
    file = io.BytesIO()
    y = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
    savemat(file, {"X": images.transpose(1, 2, 3, 0), "y": y}, do_compression=True)
    return file.getvalue()


def _stl10(splits):
    for split, (images, labels) in splits.items():
        yield f"{split}_X.bin", images.transpose(0, 3, 2, 1).tobytes()  # by column
        yield f"{split}_y.bin", (labels + 1).astype(np.uint8).tobytes()
    yield "class_names.txt", "\n".join(f"class_{k}" for k in range(10)).encode()
    yield "unlabeled_X.bin", bytes(1000)


@contextmanager
def serving():
    """Yield an address, the contents that it serves by name (empty at first), and the names that it was asked for."""
    contents, asked = {}, []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, contents, asked)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", contents, asked
        finally:
            server.shutdown()
            thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, contents, asked, *arguments):
        self.contents, self.asked = contents, asked
        super().__init__(*arguments)

    def do_GET(self):
        content = self.contents.get(self.path[1:])
        self.asked.append(self.path[1:])
        if content is None:
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        return None

    def log_message(self, *_):
        """Say nothing."""
