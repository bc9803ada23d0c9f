"""The measured numbers in README.md, written from the files of the stages: `python -m offramp.report README.md`.

The text between `<!-- NAME -->` and `<!-- /NAME -->` belongs to this module. With --check nothing is written and the
exit status is 1 when the text is not what the files say.
"""

import json
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from offramp.files import write_text
from offramp.host import summary

METRICS = Path("metrics")
RESULTS = Path("results")


def main(arguments: list[str]) -> int:
    check = "--check" in arguments
    path = Path(arguments[-1])
    text = path.read_text(encoding="utf-8")
    new = text
    for name, make in BLOCKS.items():
        new, found = re.subn(
            rf"(<!-- {name} -->).*?(<!-- /{name} -->)", partial(_fill, block=make()), new, flags=re.DOTALL
        )
        assert found == 1, f"{path} must have the marks <!-- {name} --> and <!-- /{name} --> once; found {found}"
    if check and new != text:
        print(f"{path} does not hold the numbers of the committed results; run `make readme`", file=sys.stderr)
        return 1
    if not check:
        write_text(path, new)
    return 0


def _fill(match: re.Match[str], block: str) -> str:
    return f"{match[1]}\n{block}\n{match[2]}"


def _policies_table() -> str:
    evaluation = _read(METRICS / "evaluation.json")
    full = evaluation["full"]
    lines = [
        "| policy | accuracy on test (95 %) | loss against the full network (95 %) | share of MACs | target met |",
        "|---|---|---|---|---|",
        f"| full network | {full['accuracy']:.4f} | 0 | 1 ({full['mmacs']:.2f} million) | |",
    ]
    for policy in _read(METRICS / "policies.json")["policies"]:
        row = evaluation[policy["method"]][f"{policy['target']:g}"]
        name = f"**{policy['name']}** (selected)" if policy["selected"] else policy["name"]
        met = "infeasible" if not row["feasible"] else "yes" if row["meets_target"] else "no"
        lines.append(
            f"| {name} | {row['accuracy']:.4f} ({row['accuracy_low']:.4f} to {row['accuracy_high']:.4f}) "
            f"| {row['loss']:.4f} ({row['loss_low']:.4f} to {row['loss_high']:.4f}) | {row['mac_ratio']:.3f} | {met} |"
        )
    return "\n".join(lines)


def _cutoff_table() -> str:
    sweep = _read(METRICS / "sweep.json")
    lines = [
        f"Entropy cutoff {sweep['cutoff']:g} at every side exit: accuracy {sweep['accuracy']:.4f} at "
        f"{sweep['mac_ratio']:.3f} of the full network's MACs.",
        "",
        "| exit | samples | accuracy | million MACs per sample |",
        "|---|---|---|---|",
    ]
    for name, row in sweep["exits"].items():
        accuracy = f"{row['accuracy']:.4f}" if "accuracy" in row else ""
        lines.append(f"| {name} | {row['samples']} | {accuracy} | {row['mmacs']:.2f} |")
    return "\n".join(lines)


def _times() -> str:
    measured = _read(RESULTS / "fresh_clone" / "result.json")
    seconds, host = measured["seconds"], summary(measured["host"])
    lines = ["| command | seconds |", "|---|---|"]
    lines += [f"| {name} | {value:.1f} |" for name, value in seconds.items()]
    return "\n".join([*lines, "", f"One run each, from `results/fresh_clone/result.json`, on {host}."])


def _throughput() -> str:
    measured = _read(RESULTS / "logits_throughput" / "result.json")
    forward, whole = measured["forward_ratio"], measured["whole_ratio"]
    return (
        f"Against a bare forward pass over the same batches in memory, the forward pass inside the stage reaches "
        f"{forward['median']:.2f} ({forward['low']:.2f} to {forward['high']:.2f}) and the whole stage "
        f"{whole['median']:.2f} ({whole['low']:.2f} to {whole['high']:.2f}): median and range of {measured['repeats']} "
        f"repeats side by side, {measured['images']} images, on {summary(measured['host'])}."
    )


BLOCKS: dict[str, Callable[[], str]] = {
    "policies": _policies_table,
    "cutoff": _cutoff_table,
    "times": _times,
    "throughput": _throughput,
}


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
