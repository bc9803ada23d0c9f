"""Routes live: heads are really skipped, and every answer is the replay's, on both engines and from a bundle."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from cases import routes as case
from cases.networks import images
from test_bundle import BLOCKED

from offramp.cache.reading import open_cache
from offramp.cache.writing import CacheWriter
from offramp.data.prepared import Batch, write_split
from offramp.policies.outcomes import observe, read_outcomes
from offramp.policies.policy import Policy, full_network
from offramp.policies.replay import replay
from offramp.project.errors import InputError
from offramp.runtime.benchmark.agreement import compare_live
from offramp.runtime.benchmark.caching import Caches, Pictures
from offramp.runtime.benchmark.results import entry
from offramp.runtime.benchmark.session import Setting, run_benchmark
from offramp.runtime.bundle import load
from offramp.runtime.bundle.graph import About, Graph
from offramp.runtime.bundle.schema import MANIFEST, digest
from offramp.runtime.bundle.writing import write_bundle
from offramp.runtime.engines.onnx import OnnxEngine
from offramp.runtime.engines.torch import TorchEngine
from offramp.runtime.int8.quantising import quantise
from offramp.runtime.live_routes import RouteRuntime, runtime_for

N, IDS = case.N, case.IDS
FULL = Policy(full_network(case.N_EXITS), scoring=case.Scoring.plain("entropy", case.EXITS), title="full")


@pytest.fixture(scope="module", params=["torch", "onnx"])
def engine(request):
    if request.param == "onnx":
        yield case.engine()
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two wait for each other where another process wants the second core
    yield TorchEngine(case.network(), torch.device("cpu"))
    torch.set_num_threads(threads)


def live(runtime, batch_size):
    pictures = images(N)
    parts = [runtime(pictures[i : i + batch_size], IDS[i : i + batch_size]) for i in range(0, N, batch_size)]
    assert all(part.steps for part in parts)
    return [np.concatenate([getattr(part, name) for part in parts]) for name in ("label", "exit", "uncertainty")], parts


def walked(policy, logits):
    rule = policy.rule
    return rule.walk(observe(rule.look(policy.scoring), logits, np.zeros(len(logits), np.int64), IDS[: len(logits)]))


@pytest.mark.parametrize("batch_size", [1, 16])
def test_live_answers_of_every_route_are_those_of_its_replay(engine, batch_size):
    logits = case.cached(engine, batch_size)
    slow = engine.name == "torch" and batch_size == 1
    for name in ("placed", "unclamped", "random_jump") if slow else case.NAMES:
        policy = case.policy(name)
        walk = walked(policy, logits)
        runtime = runtime_for(engine, policy, report_last=True)
        (label, taken, uncertainty), parts = live(runtime, batch_size)
        assert taken.tolist() == walk.taken.tolist(), name
        assert label.tolist() == logits[np.arange(N), taken].argmax(axis=1).tolist(), name
        np.testing.assert_allclose(uncertainty, policy.scoring(logits)[np.arange(N), taken], rtol=1e-5)
        assert len(np.unique(taken)) > 2, "a route under which all leave together shows little"
        if isinstance(runtime, RouteRuntime):
            np.testing.assert_array_equal(np.concatenate([part.visited for part in parts]), walk.visited)
        else:
            assert name in ("every_exit", "placed")


class Counted:
    """An engine whose steps count the samples that go through each head."""

    name = "counted"

    def __init__(self, engine):
        self._engine, self.heads, self.alone = engine, np.zeros(case.N_EXITS, int), 0

    def step(self, piece, scoring):
        step = self._engine.step(piece, scoring)

        def run(features):
            self.heads[list(piece.heads)] += len(features)
            self.alone += piece.start == piece.end
            return step(features)

        run.take = step.take
        return run


@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize("name", ["predictive", "unclamped", "learned"])
def test_no_head_runs_for_a_sample_that_does_not_look_there(name, batch_size):
    policy, counted = case.policy(name), Counted(case.engine())
    live(runtime_for(counted, policy), batch_size)
    visited = walked(policy, case.cached(case.engine(), batch_size)).visited
    assert counted.heads.tolist() == visited.sum(axis=0).tolist()
    assert counted.heads[: case.N_EXITS - 1].min() < N / 2
    assert counted.alone, "heads are pieces of their own"


def test_a_step_is_timed_for_all_who_were_still_there():
    policy = case.policy("predictive")
    answers = runtime_for(case.engine(), policy)(images(N))
    left = [int((answers.exit >= step.exit).sum()) for step in answers.steps]
    assert [step.samples for step in answers.steps] == left
    assert [step.exit for step in answers.steps] == list(range(1, case.N_EXITS))
    assert np.isnan(answers.uncertainty[answers.exit == case.N_EXITS - 1]).all(), "nobody asked for it"


def test_random_jumps_ask_for_keys_and_an_empty_batch_has_no_answers():
    policy = case.policy("random_jump")
    runtime = runtime_for(case.engine(), policy)
    with pytest.raises(ValueError, match="'random_jump' draws jumps by a key per sample; give the sample ids"):
        runtime(images(2))
    answers = runtime(images(0), IDS[:0])
    assert (len(answers.label), answers.steps, answers.visited.shape) == (0, [], (0, case.N_EXITS))


def test_int8_with_heads_in_float_walks_as_its_own_replay_says():
    model = quantise(case.graph(), images(32, seed=4), heads="float32")
    engine = OnnxEngine(model, threads=2, name="onnx_int8")
    passed = {value.name: value.type.tensor_type.elem_type for value in model.graph.output}
    assert {passed[f"features_{k}"] for k in range(1, case.N_EXITS)} == {2}, "uint8 goes from segment to segment"
    logits, exact = case.cached(engine, 1), case.logits()
    assert 0 < np.abs(logits - exact).mean() < 0.2 * exact.std()
    for name in ("predictive", "learned"):
        policy = case.policy(name)
        (label, taken, _), _ = live(runtime_for(engine, policy), 1)
        assert taken.tolist() == walked(policy, logits).taken.tolist()
        assert label.tolist() == logits[np.arange(N), taken].argmax(axis=1).tolist()


def test_of_those_who_part_only_those_have_a_gap_whom_a_threshold_sent_apart():
    policy, logits = case.policy("constant_jump"), case.logits()
    walk = walked(policy, logits)
    label = logits[np.arange(N), walk.taken].argmax(axis=1)
    taken, visited = walk.taken.copy(), walk.visited.copy()
    early = np.flatnonzero(walk.taken == 0)[0]
    jumped = np.flatnonzero(walk.taken > 1)[0]  # past exit_2, where nobody looks
    taken[early], taken[jumped], visited[jumped, 1] = 4, 1, True
    found = compare_live(label, taken, logits, policy, visited=visited, sample=IDS)
    assert (found.moved, found.samples) == (2, N)
    assert found.largest_gap == abs(policy.scoring(logits)[early, 0] - policy.rule.cut)


def exported_graph(tmp_path):
    about = About(model="narrow", model_sha256="0" * 64, image_shape=case.SHAPE, classes=case.CLASSES, exits=case.EXITS)
    return Graph(case.graph(), about, tmp_path / "narrow.onnx")


@pytest.mark.parametrize("name", ["predictive", "learned", "placed"])
def test_a_bundle_of_a_route_answers_as_the_runtime_does(tmp_path, name):
    policy = case.policy(name)
    manifest = write_bundle(tmp_path / "b", exported_graph(tmp_path), policy)
    bundle = load(tmp_path / "b")
    assert (bundle.policy.rule.name, bundle.policy.thresholds) == (policy.rule.name, policy.thresholds)
    expected = runtime_for(case.engine(), policy, report_last=True)
    for size in (1, 16):
        found, wanted = bundle(images(N)[:size]), expected(images(N)[:size])
        for part in ("label", "exit", "uncertainty"):
            np.testing.assert_array_equal(getattr(found, part), getattr(wanted, part))
    files = sorted(entry.file for entry in manifest.pieces)
    apart = [] if name == "placed" else [entry.file for entry in manifest.pieces if entry.file.startswith("head")]
    assert apart == {"predictive": ["head_3.onnx", "head_4.onnx"], "placed": []}.get(name, apart)
    assert len(files) == len(set(files)) == sum(t is not None for t in policy.thresholds) + len(apart)
    assert manifest.policy.score_arguments == policy.scoring.arguments
    readme = (tmp_path / "b" / "README.md").read_text()
    assert ("images skip heads" in readme) == (name != "placed")


def test_a_bundle_of_a_route_predicts_files_without_torch_and_onnx_and_knows_when_it_was_edited(tmp_path):
    from PIL import Image

    policy, place = case.policy("predictive"), tmp_path / "b"
    write_bundle(place, exported_graph(tmp_path), policy)
    for k, picture in enumerate(images(N)[:6]):
        Image.fromarray(picture).save(tmp_path / f"{k}.png")
    command = [sys.executable, "-c", BLOCKED, "predict", "--bundle", place, "--json", *sorted(tmp_path.glob("*.png"))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    taken = [json.loads(line)["exit"] for line in done.stdout.splitlines()]
    assert taken == [case.EXITS[k] for k in walked(policy, case.logits()[:6]).taken]
    content = json.loads((place / MANIFEST).read_text())
    content["policy"]["arguments"]["start"] = 3
    (place / MANIFEST).write_text(json.dumps(content | {"sha256": digest(content)}))
    with pytest.raises(InputError, match=r"bundle.json breaks the contract .*rule 'predictive' has the threshold None"):
        load(place)


def test_a_bundle_refuses_a_route_that_needs_sample_ids(tmp_path):
    with pytest.raises(InputError, match="draws jumps by sample ids"):
        write_bundle(tmp_path / "b", exported_graph(tmp_path), case.policy("random_jump"))
    assert not (tmp_path / "b").exists()


def test_a_benchmark_charges_the_heads_that_ran_and_the_forecasts(tmp_path):
    labels = np.arange(N) % len(case.CLASSES)
    split = write_split(tmp_path / "test.parquet", [Batch(images(N), labels)], "noise", "test", case.CLASSES)
    model = {"model": "narrow", "model_sha256": "0" * 64}
    metadata = {"split": "test", "classes": case.CLASSES, **model, "engine": "onnx", "batch_size": 1}
    with CacheWriter(tmp_path / "main.parquet", case.N_EXITS, len(case.CLASSES), "float32", metadata) as writer:
        writer.write(np.arange(N), labels, case.logits())
    caches = Caches(open_cache(tmp_path / "main.parquet"), tmp_path, model)
    pictures = Pictures(split, np.arange(N), images(N), labels)
    policies = [FULL, *(case.policy(name) for name in ("predictive", "random_jump", "placed"))]
    times = {1: case.from_parts("ms", [1.0] * case.N_EXITS, [0.1] * case.N_EXITS)}
    results = run_benchmark(Setting(case.engine(), pictures, caches, case.COSTS, times), policies, [1], repeats=2)
    for result, policy in zip(results, policies, strict=True):
        row = entry(result)
        assert (row["mismatches"], row["mismatches_main_cache"]) == (0, 0)
        if policy is FULL:
            assert row["heads_per_sample"] == 1
            continue
        outcomes = read_outcomes(caches.main, policy.scoring, look=policy.rule.look(policy.scoring))
        expected = replay(outcomes, policy, case.COSTS)
        assert row["mac_speedup"] == pytest.approx(1 / expected.cost_ratio)
        assert row["heads_per_sample"] == pytest.approx(expected.heads.mean())
        assert row["efficiency"] == pytest.approx(row["speedup"] / row["mac_speedup"])
        assert row["modelled_ms"] == pytest.approx(float((expected.taken + 1).mean() + 0.1 * expected.heads.mean()))
