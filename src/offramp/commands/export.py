"""`offramp export`: a policy and its network as a bundle."""

import argparse
from pathlib import Path
from typing import Any

from offramp.commands.options import add_command, needs

EPILOG = """\
POLICY is the name of a policy in --policies, like certified@0.01, or one of
  selected    the policy to deploy
  full        the network without early exit
  cutoff@X    one entropy cutoff of X nats at every side exit, at temperature 1
An infeasible policy is exported like any other, and says so first. BUNDLE may be new, empty or an earlier bundle,
which is replaced at once. A .safetensors model is exported by PyTorch; an .onnx one, like models/network.onnx, needs
onnx alone. Pass policies that were calibrated for this model.
"""


def add(commands: Any) -> None:
    export = add_command(commands, "export", "write a policy and its network as a bundle, to be run anywhere", EPILOG)
    export.add_argument("--policy", required=True, metavar="POLICY", help="which policy, by name: see below")
    export.add_argument("--out", dest="bundle", type=Path, required=True, metavar="BUNDLE", help="folder to write")
    file = Path("metrics/policies.json")
    export.add_argument("--policies", type=Path, default=file, metavar="FILE", help=f"default: {file}")
    file = Path("models/network.safetensors")
    export.add_argument(
        "--model", type=Path, default=file, metavar="FILE", help=f".safetensors or .onnx; default: {file}"
    )
    export.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from offramp.policies.file import read_policies
    from offramp.policies.policy import named_policy

    policy = named_policy(options.policy, read_policies(options.policies))
    if policy.warning:
        print(policy.warning, flush=True)
    with needs("pipeline"):
        from offramp.runtime.bundle.graph import read_graph
        from offramp.runtime.bundle.writing import write_bundle

        manifest = write_bundle(options.bundle, read_graph(options.model), policy)
    exits = ", ".join(dict.fromkeys(entry.exit.removeprefix("exit_") for entry in manifest.pieces))
    size = sum(entry.bytes for entry in manifest.files.values()) / 1e6
    print(f"{options.bundle}: {policy.name} of {manifest.model.name} ({manifest.engine}), exits {exits}, {size:.1f} MB")
