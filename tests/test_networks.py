import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import SHARED

from offramp.cache.filling import fill_cache
from offramp.cache.reading import open_cache
from offramp.data.prepared import Batch, read_batches, read_split, write_split
from offramp.networks.file import Description, load_network, save_network
from offramp.networks.macs import count_macs
from offramp.networks.registry import build
from offramp.project.errors import InputError
from offramp.runtime.engines.torch import TorchEngine

CUMULATIVE = [1_957_536, 11_628_352, 16_806_368, 26_327_936, 31_213_856, 40_963_616]


def branchynet(channels=(32, 64, 128), classes=10):
    torch.manual_seed(0)
    return build("branchynet", {"channels": channels}, (3, 32, 32), classes)


def test_macs_of_branchynet_are_those_of_the_reference_to_the_unit():
    segment, head = count_macs(branchynet(), (3, 32, 32))
    assert (np.cumsum(segment) + np.cumsum(head)).tolist() == CUMULATIVE
    assert sum(segment) + head[-1] == 38_946_048


def test_macs_of_a_head_counted_by_hand():
    _, head = count_macs(branchynet(), (3, 32, 32))
    assert head[0] == 15 * 15 * 16 * 32 * 9 + 3600 * 10


def test_side_heads_see_the_stated_number_of_features():
    network = branchynet()
    inputs = [network.branch1, network.branch2, network.branch3, network.branch4, network.branch5]
    assert [head.fc.in_features for head in inputs] == [3600, 784, 784, 144, 144]
    assert network.fc1.in_features == 2048


def test_parameters_have_the_public_names_and_no_second_ones():
    names = {name.split(".")[0] for name in branchynet().state_dict()}
    convolutions, norms = {f"conv{k}" for k in range(1, 7)}, {f"bn{k}" for k in range(1, 8)}
    assert names == convolutions | norms | {f"branch{k}" for k in range(1, 6)} | {f"fc{k}" for k in range(1, 6)}


def test_batch_norm_follows_relu():
    """After segment 1 a channel's values, scaled back, are never below what ReLU leaves, which is 0."""
    network = branchynet().eval()
    segment = network.stages[0][0]
    features = segment(torch.randn(2, 3, 32, 32))
    assert (features >= -1e-6).all()  # at initial running statistics batch norm is nearly the identity


def test_an_unknown_network_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="known: branchynet"):
        build("vgg", {}, (3, 32, 32), 10)


def test_a_saved_network_answers_the_same(tmp_path):
    network = branchynet((4, 8, 8), 3).eval()
    description = Description("slim", "branchynet", {"channels": [4, 8, 8]}, [3, 32, 32], ["a", "b", "c"])
    save_network(tmp_path / "n.safetensors", network, description)
    again, read = load_network(tmp_path / "n.safetensors")
    images = torch.rand(3, 3, 32, 32)
    assert read == description
    assert all(torch.equal(a, b) for a, b in zip(network(images), again(images), strict=True))


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_a_foreign_weights_file_is_refused(tmp_path, content):
    (tmp_path / "n.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"n\.safetensors"):
        load_network(tmp_path / "n.safetensors")


def on_cpu(network):
    return TorchEngine(network, torch.device("cpu")).exit_logits


@pytest.fixture
def split(tmp_path, rng):
    images = rng.integers(0, 256, (150, 32, 32, 3), dtype=np.uint8)
    batch = Batch(images, np.arange(150) % 3)
    return write_split(tmp_path / "test.parquet", [batch], "noise", "test", ["a", "b", "c"]), images


def test_the_cache_holds_what_the_network_says(tmp_path, split):
    prepared, images = split
    exit_logits = on_cpu(branchynet((4, 8, 8), 3))
    path = tmp_path / "logits.parquet"
    fill_cache(exit_logits, 6, prepared, path, 64, "float32", {"split": "test"})
    rows = list(open_cache(path).read())
    expected = [exit_logits(images[i : i + 64]) for i in range(0, 150, 64)]
    assert np.array_equal(np.concatenate([part.logits for part in rows]), np.concatenate(expected))
    assert np.concatenate([part.sample for part in rows]).tolist() == list(range(150))


def test_a_broken_image_is_named_and_nothing_is_written(tmp_path, split):
    prepared, _ = split
    table = pq.read_table(prepared.path).to_pylist()
    table[70]["image"]["bytes"] = b"no image"
    schema = pq.read_schema(prepared.path)
    pq.write_table(pq.read_table(prepared.path).from_pylist(table, schema=schema), prepared.path)
    exit_logits = on_cpu(branchynet((4, 8, 8), 3))
    with pytest.raises(InputError, match="image of sample 70 cannot be read"):
        fill_cache(exit_logits, 6, prepared, tmp_path / "out.parquet", 32, "float32", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["test.parquet"]


@pytest.mark.skipif(not SHARED.exists(), reason="the given network is not here")
def test_the_public_weights_load_by_name_and_give_the_given_logits(tmp_path):
    network = branchynet()
    network.load_state_dict(
        torch.load(SHARED / "branchynet-cifar10-pretrained.pt", map_location="cpu", weights_only=True)
    )
    images = pq.ParquetFile(SHARED / "cifar10" / "test.parquet")
    from offramp.data.prepared import Split, decode

    about = Split(tmp_path, 64, "cifar10", ["?"] * 10, (3, 32, 32), False)
    first = next(images.iter_batches(64))
    pixels = decode(first.column("image").field("bytes").to_pylist(), about, np.arange(64))
    given = next(open_cache(SHARED / "branchynet-cifar10-test-logits.parquet").read()).logits[:64]
    assert on_cpu(network)(pixels) == pytest.approx(given, abs=2e-3)


def test_prepared_batches_come_in_order_whatever_their_size(split):
    prepared, images = split
    assert read_split(prepared.path).rows == 150
    for size in (1, 7, 150, 1000):
        assert np.array_equal(np.concatenate([part for _, part, _ in read_batches(prepared, size)]), images)
