"""`offramp costs`: the multiply-adds of a network of params.yaml, segment by segment and head by head."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from offramp.commands.options import add_command, needs
from offramp.project.errors import InputError

if TYPE_CHECKING:
    from offramp.networks.params import Definition


PREPARED = Path("data/prepared/val.parquet")  # beside params.yaml
ASSUMED = ((3, 32, 32), 10)  # image shape, classes


def add(commands: Any) -> None:
    costs = add_command(commands, "costs", "count the multiply-adds (MACs) of a network, per segment and head")
    costs.add_argument("name", metavar="NAME", help="a key of `models` in params.yaml")
    costs.add_argument("--params", type=Path, help="default: ./params.yaml, else the documented defaults")
    costs.add_argument("--json", action="store_true", help="as metrics/costs.json has them")
    costs.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    definition, beside = _definition(options.name, options.params)
    with needs("pipeline"):
        from offramp.networks.macs import count_macs
        from offramp.networks.registry import build

        image_shape, n_classes = _images(beside / PREPARED)
        try:
            network = build(*definition.architecture, image_shape, n_classes)
        except ValueError as error:
            raise InputError(f"models.{options.name}: {error}") from None
    content = _content(network.exits, *count_macs(network, image_shape))
    print(json.dumps(content, indent=2) if options.json else _table(content))


def _definition(name: str, params: Path | None) -> tuple["Definition", Path]:
    """Return a network's definition and the folder where relative paths start."""
    from offramp.networks.params import BranchyNet, Models
    from offramp.project.declared import PARAMS_FILE
    from offramp.project.sections import StageParams, chosen, validate
    from offramp.project.yaml import read_yaml

    class Params(StageParams):
        models: Models = {"branchynet": BranchyNet(network="branchynet")}

    path = params or PARAMS_FILE
    raw = {} if params is None and not path.exists() else read_yaml(path)
    return chosen(validate(Params, raw, str(path)).models, name, "NAME", "models"), path.parent


def _images(prepared: Path) -> tuple[tuple[int, int, int], int]:
    """Return the image shape and the number of classes of the prepared data; assumed ones where there is none."""
    from offramp.data.prepared import read_split

    if prepared.exists():
        split = read_split(prepared)
        return split.image_shape, len(split.classes)
    shape, n_classes = ASSUMED
    size = "×".join(map(str, shape))
    print(f"offramp: there is no {prepared}; counted for {size} images and {n_classes} classes", file=sys.stderr)
    return ASSUMED


def _content(exits: list[str], segment: list[int], head: list[int]) -> dict[str, Any]:
    """Return what metrics/costs.json would hold."""
    from offramp.policies.costs import from_parts

    costs = from_parts("macs", segment, head)
    rows = zip(segment, head, map(int, costs.cumulative), strict=True)
    named = [dict(zip(("segment", "head", "cumulative"), row, strict=True)) for row in rows]
    return {"unit": costs.unit, "exits": dict(zip(exits, named, strict=True)), "full": int(costs.full)}


def _table(content: dict[str, Any]) -> str:
    lines = [f"{'exit':<7} {'segment':>15} {'head':>15} {'cumulative':>15} {'of full':>8}"]
    full = content["full"]
    for name, row in content["exits"].items():
        numbers = " ".join(f"{row[key]:>15,}" for key in ("segment", "head", "cumulative"))
        lines.append(f"{name:<7} {numbers} {row['cumulative'] / full:>8.3f}")
    lines.append(f"{'full':<7} {full:>47,} {1:>8.3f}")
    return "\n".join([*lines, "MACs per image; cumulative: all segments and heads up to the exit; full: no side head"])
