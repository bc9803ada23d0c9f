"""The benchmark on a small network: its figures belong together, and live answers are the replay's."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from cases.exported import CLASSES, EXITS, description, exported, lively_network, noise

from docs.readme.benchmark import benchmark_exits_table, benchmark_table
from offramp.cache.reading import open_cache
from offramp.cache.writing import CacheWriter, write_logits
from offramp.data.prepared import Batch, write_split
from offramp.figures.benchmark import draw_benchmark
from offramp.policies.costs import LatencyRow, from_parts
from offramp.policies.outcomes import read_outcomes
from offramp.policies.policy import Policies, Policy, midway
from offramp.policies.replay import replay
from offramp.policies.rules import Batch as BatchRule
from offramp.project.errors import InputError
from offramp.project.tables import write_table
from offramp.runtime.benchmark.caching import Caches, first_pictures
from offramp.runtime.benchmark.results import COLUMNS, describe, tidy, to_json
from offramp.runtime.benchmark.session import Setting, contestants, run_benchmark, worst_agreement
from offramp.runtime.engines.onnx import OnnxEngine
from offramp.runtime.engines.torch import TorchEngine
from offramp.scores.scoring import Scoring

N, SAMPLES, BATCH_SIZES = 50, 40, [1, 16]
MODEL = {"model": "tiny", "model_sha256": "0" * 64}
SCORING = Scoring.plain("entropy", EXITS)
MACS = from_parts("macs", [100, 200, 200, 300, 300, 400], [30, 20, 20, 10, 10, 40])
TIMES = {size: from_parts("ms", [1, 2, 2, 3, 3, 4], [1] * 6, LatencyRow("onnx", size)) for size in (1, 4)}


@pytest.fixture(scope="module")
def graph():
    return exported(lively_network())


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    labels = np.arange(N) % CLASSES
    path = tmp_path_factory.mktemp("prepared") / "test.parquet"
    return write_split(path, [Batch(noise(N), labels)], "noise", "test", description().classes)


def cached(engine, images, batch_size):
    return np.concatenate([engine.exit_logits(images[i : i + batch_size]) for i in range(0, len(images), batch_size)])


def policies_for(logits):
    """Return policies of which the selected one, with exits 2, 4 and 6 alone, sends everywhere a part of the images."""
    uncertainty = SCORING(logits)
    thresholds = []
    for k in range(5):
        column = np.sort(uncertainty[:, k])
        thresholds.append(midway(column[15], column[16]) if k in (1, 3) else None)
    chosen = Policy((*thresholds, math.inf), method="certified", target=0.01)
    hopeless = Policy(
        (None,) * 5 + (math.inf,), method="shared", target=0.9, feasible=False, reason="nothing reaches it."
    )
    return Policies(SCORING, [chosen, hopeless], chosen)


def setting_of(engine, split, folder):
    """What contestants share, beside a main cache that was filled in batches of 8."""
    metadata = {"split": "test", "classes": description().classes, **MODEL, "engine": engine.name, "batch_size": 8}
    logits = cached(engine, first_pictures(split, N).images, 8)
    with CacheWriter(folder / "main.parquet", len(EXITS), CLASSES, "float32", metadata) as writer:
        writer.write(np.arange(N), np.arange(N) % CLASSES, logits)
    caches = Caches(open_cache(folder / "main.parquet"), folder / "own", MODEL)
    return Setting(engine, first_pictures(split, SAMPLES), caches, MACS, TIMES)


@pytest.fixture(scope="module")
def setting(graph, split, tmp_path_factory):
    return setting_of(OnnxEngine(graph, threads=2), split, tmp_path_factory.mktemp("onnx"))


@pytest.fixture(scope="module")
def policies(setting):
    return policies_for(setting.caches.of_main(setting.pictures))


@pytest.fixture(scope="module")
def results(setting, policies):
    names = ["selected", "cutoff@1.2", "certified@0.01", "shared@0.9"]
    return run_benchmark(setting, contestants(names, policies), BATCH_SIZES, repeats=3)


@pytest.fixture
def written(results):
    about = {"engine": "onnx", "threads": 2, "samples": SAMPLES, "repeats": 3, "host": "a machine"}
    return to_json(results, about)


def test_the_full_network_comes_first_and_a_policy_named_twice_is_timed_once(results):
    names = [result.policy.name for result in results]
    assert names == 2 * ["full", "certified@0.01", "cutoff@1.2", "shared@0.9"]
    assert [result.run.batch_size for result in results] == [1] * 4 + [16] * 4


def require_replayed(result, engine, images):
    """Hold every repeat against a loop over the logits of this engine at this batch size."""
    logits = cached(engine, images, result.run.batch_size)
    uncertainty, limits = result.policy.scoring(logits), result.policy.thresholds
    assert (result.own.samples, result.own.mismatches) == (SAMPLES, 0)
    for taken, label in zip(result.run.exit, result.run.label, strict=True):
        for i in range(SAMPLES):
            early = (k for k in range(5) if limits[k] is not None and uncertainty[i, k] <= limits[k])
            assert taken[i] == next(early, 5)
            assert label[i] == logits[i, taken[i]].argmax()


def test_live_answers_are_those_of_the_replay_at_the_same_batch_size(results, setting):
    for result in results:
        require_replayed(result, setting.engine, setting.pictures.images)
    assert len(np.unique(results[1].live.taken)) == 3, "a policy under which all leave together shows little"


def test_batches_are_timed_and_replayed_at_the_live_batch_size_whatever_the_policy_states(setting):
    uncertainty = SCORING(setting.caches.of_main(setting.pictures))[:, 1]
    tolerance = float(np.median(uncertainty))
    rule = BatchRule(10, "mean", tolerance)
    chosen = Policy((None, tolerance, None, None, None, math.inf), rule, method="batch", target=0.5)
    found = run_benchmark(setting, contestants(["selected"], Policies(SCORING, [chosen], chosen)), [1, 4], repeats=1)
    for result in found:
        if result.policy.name == "full":
            continue
        size = result.run.batch_size
        logits = cached(setting.engine, setting.pictures.images, size)
        value = SCORING(logits)[:, 1].reshape(-1, size).mean(axis=1).repeat(size)
        expected = np.where(value <= tolerance, 1, 5)
        assert result.run.exit[0].tolist() == expected.tolist()
        assert result.own.mismatches == 0
        assert result.live.accuracy == float((result.run.label[0] == setting.pictures.label).mean())
        assert len(set(expected.tolist())) == 2, "a test in which all leave together shows little"


def test_the_other_engine_is_measured_in_the_same_way(split, tmp_path):
    setting = setting_of(TorchEngine(lively_network(), torch.device("cpu")), split, tmp_path)
    policies = policies_for(setting.caches.of_main(setting.pictures))
    for result in run_benchmark(setting, contestants(["selected"], policies), [16], repeats=2):
        require_replayed(result, setting.engine, setting.pictures.images)


def test_a_main_cache_with_other_logits_has_its_mismatches_counted(setting, policies, tmp_path, rng):
    exact = setting.caches.of_main(setting.pictures)
    noisy = exact + rng.normal(size=exact.shape).astype(np.float32)
    write_logits(tmp_path / "noisy.parquet", noisy, setting.pictures.label)
    caches = replace(setting.caches, main=open_cache(tmp_path / "noisy.parquet"))
    found = run_benchmark(replace(setting, caches=caches), contestants(["selected"], policies), [16], repeats=1)
    _, ours = found
    entries = to_json(found, {})["certified@0.01"]["batch_16"]
    uncertainty = SCORING(noisy)
    thresholds, live = ours.policy.thresholds, ours.live.taken
    early = [k for k in range(5) if thresholds[k] is not None]
    expected = np.array([next((k for k in early if row[k] <= thresholds[k]), 5) for row in uncertainty])
    label = noisy[np.arange(SAMPLES), expected].argmax(axis=1)
    moved = expected != live
    assert moved.any()
    assert entries["mismatches"] == 0
    assert entries["mismatches_main_cache"] == int((moved | (label != ours.run.label[0])).sum())
    first = np.minimum(expected, live)
    gaps = [abs(uncertainty[i, first[i]] - thresholds[first[i]]) for i in np.flatnonzero(moved)]
    assert entries["largest_gap_main_cache"] == max(gaps)


@pytest.mark.parametrize(
    "other", [{"macs": from_parts("macs", [1, 2], [1, 1])}, {"times": {1: from_parts("ms", [1], [1])}}]
)
def test_costs_of_another_network_are_refused(setting, policies, other):
    with pytest.raises(InputError, match=r"\.json has [12] exits, the policies are for 6"):
        run_benchmark(replace(setting, **other), contestants(["selected"], policies), [1], repeats=1)


def test_the_seconds_of_the_exits_are_those_of_the_contestant_and_so_are_the_samples(written):
    for name, batches in written.items():
        for size, row in () if name == "about" else batches.items():
            exits = row["exits"].values()
            assert list(row["exits"]) == EXITS
            assert sum(part["seconds"] for part in exits) == pytest.approx(row["seconds"], rel=1e-9)
            assert sum(part["samples"] for part in exits) == SAMPLES
            correct = sum(part["samples"] * part["accuracy"] for part in exits if part["samples"])
            assert correct / SAMPLES == pytest.approx(row["accuracy"])
            assert all(("accuracy" in part) == (part["samples"] > 0) for part in exits)
            assert row["ms_per_sample"] == pytest.approx(row["seconds"] * 1e3 / SAMPLES)
            assert row["images_per_second"] * row["seconds"] == pytest.approx(SAMPLES)
            assert row["ms_per_sample_low"] <= row["ms_per_sample"] <= row["ms_per_sample_high"]
            assert ("p50_ms" in row) == (size == "batch_1")
            if size == "batch_1":
                assert row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]


def test_a_speedup_is_of_the_two_times_of_the_same_repeat(results, written):
    full, policy = (result.run.seconds for result in results[:2])
    ratios = sorted(theirs / ours for theirs, ours in zip(full, policy, strict=True))
    row = written["certified@0.01"]["batch_1"]
    assert row["speedup"] == pytest.approx(ratios[1]), "the middle one of three"
    assert row["efficiency"] == pytest.approx(row["speedup"] / row["mac_speedup"])


def test_one_repeat_that_differs_is_enough_for_a_mismatch(results, setting):
    result = results[1]
    label = result.run.label.copy()
    label[1, 7] = (label[1, 7] + 1) % CLASSES
    logits = cached(setting.engine, setting.pictures.images, 1)
    assert worst_agreement(result.policy, replace(result.run, label=label), logits).mismatches == 1


def test_the_file_keeps_its_contract(written):
    assert list(written) == ["about", "full", "certified@0.01", "cutoff@1.2", "shared@0.9"]
    assert "speedup" not in written["full"]["batch_1"]
    row = written["certified@0.01"]["batch_1"]
    contract = {"ms_per_sample", "speedup", "mac_speedup", "efficiency", "mismatches", "exits"}
    assert contract <= set(row)
    assert set(row["exits"]["exit_6"]) == {"samples", "accuracy", "seconds"}
    assert row["speedup_low"] <= row["speedup"] <= row["speedup_high"]
    text = json.dumps(written, allow_nan=False)
    assert "[" not in text, "DVC drops lists from a diff"
    assert "null" not in text


def test_macs_and_modelled_time_are_those_of_the_replay(written, setting, policies):
    for size in BATCH_SIZES:
        path = setting.caches.folder / f"test_batch_{size}.parquet"
        replayed = replay(read_outcomes(open_cache(path), SCORING), policies.selected, MACS)
        row = written["certified@0.01"][f"batch_{size}"]
        assert row["mac_speedup"] == pytest.approx(1 / replayed.cost_ratio)
        assert row["accuracy"] == replayed.accuracy
    ms = replay(read_outcomes(open_cache(path), SCORING), policies.selected, TIMES[1]).mean_cost
    row = written["certified@0.01"]["batch_1"]
    assert row["modelled_ms"] == pytest.approx(ms)
    assert row["modelled_speedup"] == pytest.approx(TIMES[1].full / ms)
    assert written["full"]["batch_1"]["modelled_ms"] == TIMES[1].full
    assert "modelled_ms" not in written["certified@0.01"]["batch_16"], "latency.json has no such row here"


@pytest.mark.usefixtures("results")
def test_its_own_cache_keeps_the_contract_of_a_cache(setting):
    cache = open_cache(setting.caches.folder / "test_batch_16.parquet")
    told = {
        "split": "test",
        "dataset": "noise",
        "exits": EXITS,
        **MODEL,
        "engine": setting.engine.name,
        "batch_size": 16,
    }
    assert told.items() <= cache.metadata.items()
    assert cache.n_rows == SAMPLES


def test_the_table_is_tidy_and_adds_up(results, tmp_path):
    rows = tidy(results, "onnx")
    write_table(tmp_path / "t.csv", COLUMNS, rows)
    keys = [(row["policy"], row["batch_size"], row["exit"]) for row in rows]
    assert len(set(keys)) == len(keys)
    for whole in (row for row in rows if not row["exit"] and "seconds" in row):
        parts = [
            row for row in rows if row["exit"] and (row["policy"], row["batch_size"]) == keys[rows.index(whole)][:2]
        ]
        for column in ("seconds", "step_seconds"):
            assert sum(row[column] for row in parts) == pytest.approx(whole["seconds"])
    assert ("full", 4, "") in keys, "what is modelled at other batch sizes stands there too"


def test_the_figures_are_the_same_bytes_again_and_need_no_modelled_times(results, tmp_path):
    rows = tidy(results, "onnx")
    draw_benchmark(tmp_path / "a", rows)
    draw_benchmark(tmp_path / "b", rows)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"time.png", "speedup.png"}
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    draw_benchmark(tmp_path / "c", tidy([replace(result, times={}) for result in results], "onnx"))
    assert (tmp_path / "c/time.png").exists()


def test_what_is_printed_says_first_what_is_infeasible(results):
    first, *others = describe(results).splitlines()
    assert first == "shared@0.9 is INFEASIBLE: nothing reaches it."
    assert len(others) == len(results)
    assert all("0 mismatches with replay" in line for line in others)


def test_the_readme_tables_hold_a_row_per_policy_and_batch_or_exit(written):
    table = benchmark_table(written, {"certified@0.01": "**certified@0.01** (selected)"}).splitlines()
    assert len([line for line in table if line.startswith(("| full ", "| cutoff", "| shared", "| **certified"))]) == 8
    assert len({line.count("|") for line in table if line.startswith("|")}) == 1
    assert table[-1].endswith("on a machine.")
    table = benchmark_exits_table(written, {})
    assert len(re.findall(r"\| certified@0.01 \| exit_[246] ", table)) == 3
    assert "exit_1" not in table.split("cutoff@1.2")[0], "exits that nobody took have no row"
