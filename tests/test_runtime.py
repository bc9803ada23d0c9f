"""The runtime: what live inference answers is what replay says of the same engine's cache, sample by sample."""

import math

import numpy as np
import pytest
import torch
from cases.exported import CLASSES, EXITS, exported, lively_network, noise
from onnx import TensorProto, helper
from torch import nn

from offramp.policies.policy import Policy, exits_taken, full_network, midway
from offramp.policies.rules import Batch
from offramp.runtime.engines.batch_norm import fold_batch_norm
from offramp.runtime.engines.graphs import answer, cut
from offramp.runtime.engines.onnx import OnnxEngine
from offramp.runtime.engines.pieces import Piece, pieces
from offramp.runtime.engines.sessions import open_session
from offramp.runtime.engines.torch import TorchEngine
from offramp.runtime.live import Runtime
from offramp.scores.activation import ACTIVATION, Activation
from offramp.scores.change import Change, n_change_features
from offramp.scores.registry import SCORES
from offramp.scores.scoring import Scoring

N = 90


@pytest.fixture(scope="module")
def graph():
    return exported(lively_network())


@pytest.fixture(scope="module", params=["torch", "onnx"])
def engine(request, graph):
    if request.param == "torch":
        return TorchEngine(lively_network(), torch.device("cpu"))
    return OnnxEngine(graph, threads=2)


@pytest.fixture(scope="module")
def images():
    return noise(N)


def cached(engine, images, batch_size):
    """Every exit's logits, in batches, as a cache of this engine holds them."""
    return np.concatenate([engine.exit_logits(images[i : i + batch_size]) for i in range(0, len(images), batch_size)])


def live(runtime, images, batch_size):
    answers = [runtime(images[i : i + batch_size]) for i in range(0, len(images), batch_size)]
    return tuple(np.concatenate([getattr(part, what) for part in answers]) for what in ("label", "exit", "uncertainty"))


def quantile_thresholds(uncertainty, shares):
    """Thresholds between neighbouring uncertainties, below which these shares lie; None disables."""
    found = []
    for column, share in zip(uncertainty.T, shares, strict=False):
        ordered = np.sort(column)
        place = None if share is None else int(share * len(ordered))
        found.append(None if place is None else midway(ordered[place - 1], ordered[place]))
    return (*found, math.inf)


def scoring_of(score):
    temperature = {name: 0.5 + 0.3 * k for k, name in enumerate(EXITS)}
    if score != "change":
        return Scoring(score, temperature)
    rng = np.random.default_rng(3)
    weights = tuple(tuple(rng.normal(size=n_change_features(k, CLASSES)).tolist()) for k in range(len(EXITS) - 1))
    return Scoring(score, temperature, Change(weights, (0.1,) * len(weights)))


@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("score", ["energy", "entropy", "least_confidence", "margin", "change"])
def test_live_answers_are_those_of_the_replay(engine, images, score, batch_size):
    logits = cached(engine, images, batch_size)
    scoring = scoring_of(score)
    uncertainty = scoring(logits)
    for shares in [(0.2, 0.3, 0.2, 0.4, 0.5), (None, 0.5, None, 0.5, None), (None, None, 0.4, None, 0.9)]:
        thresholds = quantile_thresholds(uncertainty, shares)
        label, taken, reported = live(Runtime(engine, Policy(thresholds, scoring=scoring)), images, batch_size)
        expected = exits_taken(uncertainty, thresholds)
        assert len(set(expected.tolist())) > 1, "a test in which all leave together shows little"
        assert taken.tolist() == expected.tolist()
        assert label.tolist() == logits[np.arange(N), expected].argmax(axis=1).tolist()
        early = expected < len(EXITS) - 1
        gone = uncertainty[np.arange(N), expected]
        assert reported[early] == pytest.approx(gone[early], rel=1e-4, abs=1e-4)
        assert np.isnan(reported[~early]).all()


@pytest.mark.parametrize("reduce", ["max", "mean"])
@pytest.mark.parametrize("score", ["entropy", "change"])
def test_batches_leave_live_where_replay_says_and_stay_whole(engine, images, score, reduce):
    """Consecutive rows in calls of the rule's batch size; the last call has fewer."""
    size, scoring = 4, scoring_of(score)
    logits = cached(engine, images, size)
    sample = np.arange(N)
    reduced = Batch(size, reduce, 0).of_cache(scoring(logits), sample)
    tolerance = float(np.median(reduced[:, 1:4]))
    tolerance = midway(tolerance, float(reduced[reduced > tolerance].min()))
    policy = Policy(
        (None, *[tolerance] * 3, None, math.inf), Batch(size, reduce, tolerance), scoring=scoring, title="b"
    )
    expected = exits_taken(policy.rule.of_cache(scoring(logits), sample), policy.thresholds)
    label, taken, reported = live(Runtime(engine, policy), images, size)
    assert taken.tolist() == expected.tolist()
    assert label.tolist() == logits[sample, expected].argmax(axis=1).tolist()
    assert len(set(taken.tolist())) > 1, "a test in which all leave together shows little"
    assert all(len(set(taken[start : start + size].tolist())) == 1 for start in range(0, N, size))
    early = expected < len(EXITS) - 1
    assert reported[early] == pytest.approx(scoring(logits)[sample, expected][early], rel=1e-4, abs=1e-4)
    alone = Runtime(engine, policy)(images[:1]).exit[0]
    own = scoring(cached(engine, images[:1], 1))
    assert alone == exits_taken(own, policy.thresholds)[0], "a batch is what the runtime is called with"


def test_the_full_network_gives_everyone_the_last_answer(engine, images):
    logits = cached(engine, images, 32)
    label, taken, _ = live(
        Runtime(engine, Policy(full_network(6), scoring=Scoring.plain("entropy", EXITS))), images, 32
    )
    assert set(taken.tolist()) == {5}
    assert label.tolist() == logits[:, -1].argmax(axis=1).tolist()


def test_no_step_sees_a_sample_that_left(engine, images):
    logits = cached(engine, images, N)
    scoring = Scoring.plain("entropy", EXITS)
    thresholds = quantile_thresholds(scoring(logits), (0.3, None, 0.3, 0.3, None))
    answers = Runtime(engine, Policy(thresholds, scoring=scoring))(images)
    left = N - np.cumsum(np.bincount(answers.exit, minlength=6))
    assert [(step.exit, step.samples) for step in answers.steps] == [(0, N), (2, left[1]), (3, left[2]), (5, left[4])]


def test_steps_after_the_last_sample_left_are_not_run(engine, images):
    answers = Runtime(
        engine, Policy((None, math.inf, 0.1, None, None, math.inf), scoring=Scoring.plain("entropy", EXITS))
    )(images)
    assert [step.exit for step in answers.steps] == [1]
    assert set(answers.exit.tolist()) == {1}


def test_an_empty_batch_has_no_answers(engine, images):
    answers = Runtime(engine, Policy(full_network(6), scoring=Scoring.plain("entropy", EXITS)))(images[:0])
    assert len(answers.label) == len(answers.exit) == len(answers.steps) == 0


def test_tensors_are_images_too(engine, images):
    runtime = Runtime(engine, Policy(full_network(6), scoring=Scoring.plain("entropy", EXITS)))
    expected = runtime(images).label.tolist()
    assert runtime(torch.from_numpy(images)).label.tolist() == expected
    if engine.name == "torch":
        assert runtime(torch.from_numpy(images).permute(0, 3, 1, 2) / 255).label.tolist() == expected


@pytest.mark.parametrize("wrong", [np.zeros((2, 32, 32, 3)), np.zeros((32, 32, 3), np.uint8)])
def test_other_arrays_are_refused(engine, wrong):
    runtime = Runtime(engine, Policy(full_network(6), scoring=Scoring.plain("entropy", EXITS)))
    with pytest.raises(ValueError, match=r"images must be uint8 \(samples, height, width, channels\); got"):
        runtime(wrong)


def test_the_last_uncertainty_is_reported_on_request(engine, images):
    scoring = Scoring.plain("entropy", EXITS)
    answers = Runtime(engine, Policy(full_network(6), scoring=scoring), report_last=True)(images)
    assert answers.uncertainty == pytest.approx(scoring(cached(engine, images, N))[:, -1], rel=1e-4)


def test_the_engines_agree_up_to_the_last_bits(graph, images):
    ours = OnnxEngine(graph, threads=2).exit_logits(images)
    assert ours == pytest.approx(TorchEngine(lively_network(), torch.device("cpu")).exit_logits(images), abs=2e-4)


def test_an_exported_graph_is_the_same_bytes_again_and_names_no_place_of_this_machine(graph):
    content = exported(lively_network()).SerializeToString(deterministic=True)
    assert content == graph.SerializeToString(deterministic=True)
    assert b".py" not in content


def test_a_piece_lies_between_two_enabled_exits():
    assert pieces([False, True, False, True]) == [Piece(None, 1, (1,), True), Piece(1, 3, (3,), False)]
    assert pieces([False, False, False, True]) == [Piece(None, 3, (3,), False)]
    assert pieces([True, True]) == [Piece(None, 0, (0,), True), Piece(0, 1, (1,), False)]


def test_a_score_that_compares_exits_runs_disabled_heads_before_the_last_side_exit():
    found = pieces([False, True, False, True, False, True], every_head=True)
    assert [piece.heads for piece in found] == [(0, 1), (2, 3), (5,)]


@pytest.mark.parametrize("score", sorted(name for name, score in SCORES.items() if score.graph))
@pytest.mark.parametrize("temperature", [1.0, 1.7])
@pytest.mark.parametrize("scale", [0.1, 3.0, 300.0])
def test_a_score_in_the_graph_is_the_score_of_replay_to_the_bit(rng, score, temperature, scale):
    logits = (rng.normal(size=(100_000, CLASSES)) * scale).astype(np.float32)
    logits[:50] = logits[:50].round()  # ties
    logits[50:50_000] += np.float32(50)  # a high common level
    inputs = [helper.make_tensor_value_info("logits_1", TensorProto.FLOAT, ["samples", CLASSES])]
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(helper.make_graph([], "score", inputs, []), opset_imports=opset, ir_version=10)
    scoring = Scoring(score, {"exit_1": temperature})
    if score == ACTIVATION:
        scoring = Scoring(score, {"exit_1": 1.0}, Activation((temperature,)))
    answer(model, Piece(None, 0, (0,), False), scoring)
    session = open_session(model.SerializeToString(), threads=2)
    label, uncertainty = session.run(None, {"logits_1": logits})
    assert label.tolist() == logits.argmax(axis=1).tolist()
    assert uncertainty.tolist() == scoring(logits[:, None])[:, 0].tolist()


def test_a_score_without_a_graph_is_refused_by_name(graph):
    piece = Piece(None, 1, (1,), True)
    with pytest.raises(ValueError, match=r"'change' has no ONNX graph"):
        answer(cut(graph, piece), piece, scoring_of("change"))


def test_the_uncertainty_at_one_exit_is_its_column(rng):
    logits = rng.normal(size=(40, 6, CLASSES)).astype(np.float32)
    for score in ("entropy", "least_confidence", "margin", "energy", "change"):
        scoring = scoring_of(score)
        for k in range(6):
            assert scoring.at_exit(k, logits[:, : k + 1]).tolist() == scoring(logits)[:, k].tolist()


def test_batch_norm_is_folded_where_it_directly_follows_a_convolution_and_nowhere_else():
    torch.manual_seed(0)
    conv, norm, after = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)
    for layer in (norm, after):
        layer.running_mean.uniform_(-1, 1)
        layer.running_var.uniform_(0.5, 2)
    module = nn.Sequential(nn.Sequential(conv, norm), nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), after))
    folded = fold_batch_norm(module.eval())
    assert [len(part) for part in folded] == [1, 3]
    images = torch.rand(2, 3, 8, 8)
    assert folded(images).detach().numpy() == pytest.approx(module(images).detach().numpy(), abs=1e-5)
    assert len(module[0]) == 2, "the network given is not changed"
