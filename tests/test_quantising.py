"""INT8: close to float32, the same contract, lossless cuts, and nothing of the certify fold in it."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from cases.exported import EXITS, noise
from cases.int8 import settled_graph, without_negative_scales
from onnx import TensorProto

from offramp.cache.folds import in_tune
from offramp.data.prepared import Batch, write_split
from offramp.policies.policy import Policies, Policy, exits_taken, full_network
from offramp.project.errors import InputError
from offramp.runtime.benchmark.caching import Pictures
from offramp.runtime.benchmark.int8 import Precision, benchmark
from offramp.runtime.engines import open_engine
from offramp.runtime.engines.graphs import cut
from offramp.runtime.engines.onnx import OnnxEngine
from offramp.runtime.engines.pieces import Piece, every_exit, pieces
from offramp.runtime.int8.quantising import first_tune_images, quantise
from offramp.runtime.live import Runtime
from offramp.runtime.params import Int8
from offramp.scores.scoring import Scoring

N = 90
PER_SEGMENT = 0.1 * np.arange(1, 7)
SCORING = Scoring.plain("entropy", EXITS)
LOGITS = Scoring.plain("change", EXITS)  # has no graph, so a piece gives its logits


@pytest.fixture(scope="module")
def mixed():
    return settled_graph()


@pytest.fixture(scope="module")
def graph(mixed):
    return without_negative_scales(mixed)


@pytest.fixture(scope="module")
def images():
    return noise(N)


@pytest.fixture(scope="module", params=["int8", "float32"])
def heads(request):
    return request.param


@pytest.fixture(scope="module")
def quantised(graph, heads):
    return quantise(graph, noise(128, seed=2), heads)


def by_name(model):
    return {tensor.name: tensor for tensor in model.graph.initializer}


def cached(engine, images, batch_size):
    return np.concatenate([engine.exit_logits(images[i : i + batch_size]) for i in range(0, len(images), batch_size)])


def test_int8_logits_are_close_to_float32_ones(graph, quantised, images):
    """Each segment rounds, and an untrained one amplifies what reaches it: a tenth of the spread per segment at most.

    Another network's logits, or those of a wrong border, would be about 1.4 of it away.
    """
    error, agreement = distance(graph, quantised, images)
    assert (error < PER_SEGMENT).all()
    assert (error > 0).all()
    assert agreement > 0.85


def distance(graph, quantised, images):
    """Return the error of each exit's logits as a share of their spread over images, and how many answers agree."""
    exact, rounded = (cached(OnnxEngine(model, 2), images, 30) for model in (graph, quantised))
    error = np.sqrt(((rounded - exact) ** 2).mean(axis=(0, 2)))
    return error / exact.std(axis=0).mean(axis=1), (rounded.argmax(axis=2) == exact.argmax(axis=2)).mean()


def test_batch_norms_that_cannot_be_taken_out_stay_in_float32(mixed, images):
    """Negative scales before max pooling: nothing is as fast, but it is as right, and a cut still loses nothing."""
    quantised = quantise(mixed, noise(128, seed=2))
    assert sum(node.op_type == "BatchNormalization" for node in quantised.graph.node) == 3
    error, agreement = distance(mixed, quantised, images)
    assert (error < PER_SEGMENT).all()
    assert agreement > 0.8
    features = images
    engine = OnnxEngine(quantised, 2)
    for piece in pieces([True] * 6):
        output = engine.step(piece, LOGITS)(features)
        features = output.features
        assert output.logits[:, 0] == pytest.approx(engine.exit_logits(images)[:, piece.end], abs=1e-4)


def test_logits_are_not_rounded_to_256_levels(quantised, images):
    logits = OnnxEngine(quantised, 2).exit_logits(images)
    assert all(len(np.unique(logits[:, k])) > 300 for k in range(6))


def test_the_result_keeps_the_contract(graph, quantised, heads):
    assert [output.name for output in quantised.graph.output] == [output.name for output in graph.graph.output]
    assert [value.name for value in quantised.graph.input] == ["images"]
    for output in quantised.graph.output:
        eight_bits = output.name.startswith("features_")
        assert output.type.tensor_type.elem_type == (TensorProto.UINT8 if eight_bits else TensorProto.FLOAT)
    before, after = (
        json.loads(next(entry.value for entry in model.metadata_props if entry.key == "offramp"))
        for model in (graph, quantised)
    )
    assert before.items() <= after.items()
    assert after["precision"] == {"segments": "int8", "heads": heads}
    assert after["calibration"]["images"] == 128
    assert len(after["calibration"]["sha256"]) == 64


@pytest.mark.parametrize("k", range(6))
def test_heads_calculate_in_what_was_asked_for(quantised, heads, k):
    """Alone, from its 8-bit features to its logits, a float32 head is scaled back once and then never quantised."""
    head = cut(quantised, Piece(k, k, (k,), features=False))
    scaled = [node.input[0] for node in head.graph.node if node.op_type == "DequantizeLinear"]
    weights = [by_name(head)[name].data_type for name in scaled if name in by_name(head)]
    if heads == "float32":
        assert scaled == [f"features_{k + 1}"]
        assert not any(node.op_type == "QuantizeLinear" for node in head.graph.node)
    else:
        assert weights.count(TensorProto.INT8) == len(weights) / 2  # the others are biases, in 32 bits
        assert len(weights) >= 4


@pytest.mark.parametrize("enabled", [(1, 1, 1, 1, 1, 1), (0, 1, 0, 1, 0, 1), (0, 0, 1, 0, 0, 1)])
def test_pieces_give_what_the_whole_graph_gives(quantised, heads, images, enabled):
    """Integer sums are exact, so int8 heads agree in every bit; float32 heads differ in the last ones."""
    engine = OnnxEngine(quantised, 2)
    whole = engine.exit_logits(images)
    features = images
    for piece in pieces([bool(on) for on in enabled]):
        output = engine.step(piece, LOGITS)(features)
        features = output.features
        assert output.logits[:, 0] == pytest.approx(whole[:, piece.end], abs=0 if heads == "int8" else 1e-4)
        if piece.features:
            assert features.dtype == np.uint8


@pytest.mark.parametrize("batch_size", [1, 16, 64])
def test_live_is_the_replay_of_its_own_cache(quantised, images, batch_size):
    engine = OnnxEngine(quantised, 2, "onnx_int8")
    logits = cached(engine, images, batch_size)
    uncertainty = SCORING(logits)
    thresholds = (*np.median(uncertainty, axis=0)[:2], None, *np.median(uncertainty, axis=0)[3:5], np.inf)
    taken = exits_taken(uncertainty, thresholds)
    runtime = Runtime(engine, Policy(thresholds, scoring=SCORING))
    live = [runtime(images[i : i + batch_size]) for i in range(0, N, batch_size)]
    assert len(np.unique(taken)) >= 4
    assert np.array_equal(np.concatenate([answers.exit for answers in live]), taken)
    labels = logits.argmax(axis=2)[np.arange(N), taken]
    assert np.array_equal(np.concatenate([answers.label for answers in live]), labels)


def test_with_int8_heads_logits_do_not_depend_on_the_batch_size(graph, images):
    engine = OnnxEngine(quantise(graph, images, "int8"), 2)
    assert np.array_equal(cached(engine, images, 1), cached(engine, images, 64))


def split_of(path, images):
    return write_split(path, [Batch(images, np.arange(len(images)) % 5)], "noise", "val", list("abcde"))


def test_only_tune_rows_reach_the_quantised_network(tmp_path, graph, images):
    """Other certify rows give the same file, byte for byte; other tune rows do not."""
    tune = in_tune(np.arange(N), 0.4, 17)
    other = noise(N, seed=9)
    files = []
    for name, changed in (("none", np.zeros(N, bool)), ("certify", ~tune), ("tune", tune)):
        content = np.where(changed[:, None, None, None], other, images)
        chosen = first_tune_images(split_of(tmp_path / f"{name}.parquet", content), 20, 0.4, 17)
        files.append(quantise(graph, chosen).SerializeToString())
    assert files[0] == files[1]
    assert files[0] != files[2]


def test_the_first_tune_rows_are_taken_in_order(tmp_path, images):
    split = split_of(tmp_path / "val.parquet", images)
    tune = in_tune(np.arange(N), 0.4, 17)
    assert np.array_equal(first_tune_images(split, 7, 0.4, 17), images[tune][:7])


def test_a_small_tune_fold_is_taken_whole_and_an_empty_one_says_what_to_change(tmp_path, images):
    split = split_of(tmp_path / "val.parquet", images)
    assert len(first_tune_images(split, 512, 0.4, 17)) == int(in_tune(np.arange(N), 0.4, 17).sum())
    with pytest.raises(
        InputError, match=r"none of the .* rows of .* is in the tune fold.*raise calibrate\.tune_fraction"
    ):
        first_tune_images(split, 512, 1e-9, 17)


def test_unknown_heads_and_no_images_are_refused(graph, images):
    with pytest.raises(InputError, match=r"int8\.heads must be one of: int8, float32; got 'int4'"):
        quantise(graph, images, "int4")
    with pytest.raises(InputError, match="at least 1; got none"):
        quantise(graph, images[:0])


def test_quantising_says_nothing_and_leaves_the_graph_as_it_was(graph, images, capfd, caplog):
    before = graph.SerializeToString()
    quantise(graph, images)
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    assert graph.SerializeToString() == before


def test_the_engine_opens_by_name(tmp_path, quantised, images):
    with pytest.raises(
        InputError, match=r"there is no .*network_int8\.onnx; run `dvc repro deployment/dvc\.yaml:quantise`"
    ):
        open_engine("onnx_int8", 2, "cpu", tmp_path)
    onnx.save(quantised, tmp_path / "network_int8.onnx")
    engine = open_engine("onnx_int8", 2, "cpu", tmp_path)
    assert engine.name == "onnx_int8"
    assert np.array_equal(engine.exit_logits(images), OnnxEngine(quantised, 2).exit_logits(images))


def test_side_by_side_figures_are_of_both_networks_and_live_is_replay(tmp_path, graph, quantised, images):
    split = split_of(tmp_path / "test.parquet", images)
    both = []
    for model in (quantised, graph):
        engine = OnnxEngine(model, 2)
        logits = cached(engine, images, 30)
        thresholds = (float(np.median(SCORING(logits)[:, 0])), *full_network(6)[1:])
        policy = Policy(thresholds, method="budget", target=0.5)
        both.append(Precision(engine, Policies(SCORING, [policy], policy), logits))
    label = both[0].logits[:, -1].argmax(axis=1)
    table = benchmark(*both, Pictures(split, np.arange(N), images, label), [30], 3)
    assert table["full"]["batch_30"]["int8"]["accuracy"] == 1.0
    for name in ("full", "selected"):
        row = table[name]["batch_30"]
        assert row["int8"]["mismatches"] == row["float32"]["mismatches"] == 0
        assert row["int8"]["ms_low"] <= row["int8"]["ms_per_sample"] <= row["int8"]["ms_high"]
        assert 0 < row["speedup_low"] <= row["speedup"] <= row["speedup_high"]
    assert table["selected"]["batch_30"]["int8"]["policy"] == "budget@0.5"


def test_params_yaml_holds_the_documented_defaults():
    content = yaml.safe_load((Path(__file__).resolve().parents[1] / "params.yaml").read_text())
    assert Int8().model_dump() == content["int8"]


def test_every_exit_of_the_network_is_in_the_whole_graph(quantised):
    assert len(cut(quantised, every_exit(6)).graph.output) == 6
