"""Weights that a user brings: what loads, what does not fit, what is broken or hostile."""

import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from conftest import SHARED
from safetensors.torch import save_file

from offramp.networks.given_weights import load_initial_weights, load_weights
from offramp.networks.registry import build
from offramp.project.errors import InputError

CHANNELS = [2, 2, 4]


def network(seed=0, classes=3):
    torch.manual_seed(seed)
    return build("branchynet", {"channels": CHANNELS}, (3, 24, 24), classes)


def same(first, second):
    second = second.state_dict()
    return all(torch.equal(tensor, second[name]) for name, tensor in first.state_dict().items())


WRITERS = {
    "plain.pt": lambda state, path: torch.save(state, path),
    "old.pth": lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False),
    "lightning.ckpt": lambda state, path: torch.save({"state_dict": state, "epoch": 3, "lr": 0.1}, path),
    "wrapped.pt": lambda state, path: torch.save({"model": state, "optimizer": {"state": {}}}, path),
    "parallel.pt": lambda state, path: torch.save({f"module.{name}": one for name, one in state.items()}, path),
    "w.safetensors": lambda state, path: save_file(dict(state), path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_weights_load_from_every_kind_of_file(tmp_path, name):
    given, loaded = network(1), network(2)
    WRITERS[name](given.state_dict(), tmp_path / name)
    load_weights(loaded, tmp_path / name)
    assert same(given, loaded)


def changed(**changes):
    state = network(1).state_dict()
    for name, value in changes.items():
        if value is None:
            del state[name.replace("__", ".")]
        else:
            state[name.replace("__", ".")] = value
    return state


MISFITS = {
    "missing": (changed(conv1__weight=None, branch2__fc__bias=None), r"2 missing: conv1\.weight, branch2\.fc\.bias;"),
    "unexpected": (changed(head=torch.zeros(1)), r"1 unexpected: head;"),
    "shape": (changed(fc5__bias=torch.zeros(10)), r"1 wrong: fc5\.bias \(shape \(10,\), must be \(3,\)\)"),
    "half": (changed(fc5__bias=torch.zeros(3).half()), r"fc5\.bias \(float16, must be float32\)"),
    "sparse": (changed(fc5__bias=torch.zeros(3).to_sparse()), r"fc5\.bias \(float32 sparse_coo, must be float32\)"),
    "meta": (changed(fc5__bias=torch.zeros(3, device="meta")), r"fc5\.bias \(float32 without data, must be float32\)"),
    "nan": (changed(bn1__running_var=torch.tensor([1.0, float("nan")])), r"bn1\.running_var \(holds NaN or infinity\)"),
    "other network": ({f"layer{k}": torch.zeros(1) for k in range(12)}, r"12 unexpected: layer0, .*layer9, \.\.\.;"),
    "several": (changed(conv1__bias=None, x=torch.zeros(1)), r"1 missing: conv1\.bias; 1 unexpected: x;"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_what_does_not_fit_is_listed_and_nothing_is_loaded(tmp_path, case):
    state, message = MISFITS[case]
    torch.save(state, tmp_path / "w.pt")
    untouched, loaded = network(2), network(2)
    with pytest.raises(InputError, match=message) as caught:
        load_weights(loaded, tmp_path / "w.pt")
    assert "w.pt does not fit BranchyNet" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert same(untouched, loaded)


class Malice:
    """Unpickled by anything but the restricted reader, this writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def bomb(path):
    """An archive of 10 KB with 200 MB inside."""
    torch.save({"a": torch.zeros(1)}, path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/9", bytes(200 * 2**20))


def truncated(path):
    torch.save(network().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-1000])


def damaged(path):
    torch.save(network().state_dict(), path)
    content = bytearray(path.read_bytes())
    content[40:400] = bytes(360)
    path.write_bytes(content)


HOSTILE = {
    "code.pt": (lambda path: torch.save({"a": Malice(path.with_name("ran"))}, path), "would run code, which is never"),
    "code.pkl": (lambda path: path.write_bytes(pickle.dumps(Malice(path.with_name("ran")))), "would run code"),
    "module.pt": (lambda path: torch.save(network(), path), "would run code, which is never done"),
    "truncated.pt": (truncated, "is not a readable torch file"),
    "damaged.pt": (damaged, "is not a"),
    "text.pt": (lambda path: path.write_text("weights"), "is not a"),
    "empty.pt": (lambda path: path.touch(), "is not a readable torch file"),
    "list.pt": (lambda path: torch.save([torch.zeros(1)], path), "holds no mapping from names to tensors"),
    "tensor.pt": (lambda path: torch.save(torch.zeros(1), path), "holds no mapping from names to tensors"),
    "numbers.pt": (lambda path: torch.save({0: torch.zeros(1)}, path), "holds no mapping from names to tensors"),
    "none.pt": (lambda path: torch.save({}, path), "holds no mapping from names to tensors"),
    "mixed.pt": (lambda path: torch.save({"a": torch.zeros(1), "epoch": 3}, path), "1 entries are no tensors: epoch"),
    "bomb.pt": (bomb, "holds 200 MiB, which are not the weights of this network"),
    "large.pt": (lambda path: torch.save({"a": torch.zeros(20 * 2**20)}, path), "holds 80 MiB, which are not"),
    "t.safetensors": (lambda path: path.write_bytes(b"\xff" * 100), "is not a readable safetensors file"),
    "pt.safetensors": (lambda path: torch.save(network().state_dict(), path), "is not a readable safetensors file"),
    "folder.pt": (lambda path: path.mkdir(), "cannot be read|is not a readable torch file"),
    "absent.pt": (lambda path: path.with_name("other").touch(), "there is no .*absent.pt"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_broken_or_hostile_file_is_one_clear_line_and_runs_nothing(tmp_path, name):
    write, message = HOSTILE[name]
    write(tmp_path / name)
    with pytest.raises(InputError, match=message) as caught:
        load_weights(network(), tmp_path / name)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert not (tmp_path / "ran").exists()


def test_initial_weights_may_lack_side_heads_and_nothing_else(tmp_path):
    given, loaded, untouched = network(1), network(2), network(2)
    state = {name: one for name, one in given.state_dict().items() if not name.startswith(("branch2", "branch5.fc"))}
    save_file(state, tmp_path / "w.safetensors")
    missing = load_initial_weights(loaded, tmp_path / "w.safetensors")
    assert missing == [name for name in given.state_dict() if name not in state]
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, (given if name in state else untouched).state_dict()[name])
    del state["fc5.bias"]
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"1 missing: fc5\.bias;"):
        load_initial_weights(loaded, tmp_path / "w.safetensors")


@pytest.mark.skipif(not SHARED.exists(), reason="the given network is not here")
def test_the_public_weights_fit_branchynet_and_no_other():
    path = SHARED / "branchynet-cifar10-pretrained.pt"
    load_weights(build("branchynet", {"channels": [32, 64, 128]}, (3, 32, 32), 10), path)
    with pytest.raises(InputError, match=r"wrong: conv1.weight \(shape \(32, 3, 3, 3\), must be \(16, 3, 3, 3\)\)"):
        load_weights(build("branchynet", {"channels": [16, 64, 128]}, (3, 32, 32), 10), path)
