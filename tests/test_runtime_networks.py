"""The runtime on networks that are no BranchyNet: tokens as features, traced graphs, heads that do nothing."""

import math

import numpy as np
import onnx
import pytest
import torch
from cases.networks import ARGUMENTS, graph, images, network

from offramp.policies.policy import Policy, exits_taken, midway
from offramp.runtime.bundle import load
from offramp.runtime.bundle.graph import read_graph
from offramp.runtime.bundle.writing import write_bundle
from offramp.runtime.engines.onnx import OnnxEngine
from offramp.runtime.engines.torch import TorchEngine
from offramp.runtime.int8.quantising import quantise
from offramp.runtime.live import Runtime
from offramp.scores.scoring import Scoring

N = 60
INT8_ERROR = 0.3  # at most, as a share of the logits' spread


@pytest.fixture(scope="module", params=ARGUMENTS)
def name(request):
    return request.param


def engines(name):
    yield TorchEngine(network(name), torch.device("cpu"))
    yield OnnxEngine(graph(name), 2)
    yield OnnxEngine(quantise(graph(name), images(64, seed=3)), 2, "onnx_int8")


def cached(engine, pictures, batch_size):
    return np.concatenate(
        [engine.exit_logits(pictures[row : row + batch_size]) for row in range(0, len(pictures), batch_size)]
    )


def median_policy(uncertainty):
    """Half of the samples leave at every side exit; a threshold lies between two neighbours."""
    ordered = np.sort(uncertainty[:, :-1], axis=0)
    return (*(midway(float(low), float(high)) for low, high in ordered[N // 2 - 1 : N // 2 + 1].T), math.inf)


def test_live_is_replay_on_every_engine_and_engines_agree(name):
    pictures = images(N)
    exact = None
    for engine in engines(name):
        for batch_size in (1, 16):
            logits = cached(engine, pictures, batch_size)
            scoring = Scoring.plain("entropy", network(name).exits)
            uncertainty = scoring(logits)
            thresholds = median_policy(uncertainty)
            taken = exits_taken(uncertainty, thresholds)
            assert len(np.unique(taken)) == len(thresholds)
            runtime = Runtime(engine, Policy(thresholds, scoring=scoring))
            answers = [runtime(pictures[row : row + batch_size]) for row in range(0, N, batch_size)]
            assert np.array_equal(np.concatenate([part.exit for part in answers]), taken)
            label = logits[np.arange(N), taken].argmax(axis=1)
            assert np.array_equal(np.concatenate([part.label for part in answers]), label)
        exact = logits if exact is None else exact
        error = np.sqrt(((logits - exact) ** 2).mean(axis=(0, 2))) / exact.std(axis=0).mean(axis=1)
        assert (error < (INT8_ERROR if engine.name == "onnx_int8" else 1e-4)).all()


def test_torch_gives_what_the_network_gives(name):
    pictures = images(8)
    with torch.inference_mode():
        expected = torch.stack(network(name)(torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255), dim=1)
    assert TorchEngine(network(name), torch.device("cpu")).exit_logits(pictures) == pytest.approx(
        expected.numpy(), abs=1e-4
    )


@pytest.mark.parametrize("int8", [False, True])
def test_a_bundle_of_tokens_answers_as_its_network(tmp_path, int8):
    pictures = images(N)
    model = quantise(graph("tokens"), images(64, seed=3)) if int8 else graph("tokens")
    onnx.save(model, tmp_path / "network.onnx")
    scoring = Scoring.plain("entropy", ["exit_1", "exit_2"])
    logits = OnnxEngine(model, 2).exit_logits(pictures)
    thresholds = median_policy(scoring(logits))
    policy = Policy(thresholds, scoring=scoring, title="half@1")
    manifest = write_bundle(tmp_path / "bundle", read_graph(tmp_path / "network.onnx"), policy)
    assert manifest.pieces[0].outputs[-1].shape == [16, 12]  # 4×4 tokens of 12 channels
    answers = load(tmp_path / "bundle")(pictures)
    taken = exits_taken(scoring(logits), thresholds)
    assert np.array_equal(answers.exit, taken)
    assert np.array_equal(answers.label, logits[np.arange(N), taken].argmax(axis=1))
