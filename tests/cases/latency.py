"""A network in which the head of one exit takes longer than it saves: caches, latency.json and policies for time."""

import json

from cases.graded import graded_logits
from offramp.cache.writing import write_logits
from offramp.calibration import calibrate_cache
from offramp.calibration.settings import Settings
from offramp.policies.costs import LatencyRow, read_costs, write_costs
from offramp.policies.file import write_policies
from offramp.policies.methods import METHODS

EXITS = ["exit_1", "exit_2", "exit_3", "exit_4"]
SEGMENT = [1.0, 2.0, 3.0, 4.0]
HEAD = {"onnx": [0.3, 9.0, 0.3, 0.2], "torch": [15.0, 0.3, 0.3, 0.2]}  # the dear head: of exit 2, of exit 1
DEAR = {"onnx": "exit_2", "torch": "exit_1"}
TARGETS = {"certified": 0.1, "conformal": 0.1, "budget": 0.75, "certified_overall": 0.6}
WANTED = [(method, TARGETS.get(method, 0.78)) for method in METHODS if not METHODS[method].route]
BATCH_1 = LatencyRow("onnx", 1)


def table(segment, head):
    rows, total = {}, 0.0
    for name, trunk, branch in zip(EXITS, segment, head, strict=True):
        total += trunk + branch
        rows[name] = {"segment": trunk, "segment_low": trunk, "segment_high": trunk, "head": branch, "head_low": branch}
        rows[name] |= {"head_high": branch, "cumulative": total}
    full = sum(segment) + head[-1]
    return {"exits": rows, "full": full, "full_low": full, "full_high": full}


def latency():
    content = {"unit": "ms", "threads": 2, "repeats": 30, "host": {"cpu": "any"}}
    content |= {engine: {"batch_1": table(SEGMENT, head)} for engine, head in HEAD.items()}
    content["onnx"]["batch_64"] = table([value / 4 for value in SEGMENT], [0.0, 0.0, 0.0, 0.1])
    return content


def write_case(path):
    """Write two caches, both kinds of costs, and policies for time on onnx at batch 1."""
    for name, seed in (("val", 1), ("test", 2)):
        write_logits(path / f"{name}.parquet", *graded_logits(seed, 1200, (4.0, 5.0, 6.0, 8.0)))
    (path / "latency.json").write_text(json.dumps(latency()))
    write_costs(path / "costs.json", EXITS, [10, 20, 30, 40], [3, 3, 3, 2])
    costs = read_costs(path / "latency.json", BATCH_1)
    write_policies(path / "p.json", calibrate_cache(path / "val.parquet", costs, settings()))


def settings():
    return Settings(WANTED, ("certified", 0.1))


def entry_of(content, method):
    return next(policy for policy in content["policies"] if policy["method"] == method)
