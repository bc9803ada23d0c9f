"""The pipelines as DVC sees them: their stages, what their code imports, and a copy whose commands are stubs."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
import yaml

from offramp.project.yaml import read_yaml

ROOT = Path(__file__).resolve().parents[2]
FILES = ("dvc.yaml", "deployment/dvc.yaml", "studies/depth/dvc.yaml", "studies/predictive_exit/dvc.yaml")
PARAMS = ("params.yaml", "studies/depth/params.yaml", "studies/predictive_exit/params.yaml")
ALWAYS = {"inputs", "deployment/dvc.yaml:host"}
PACKAGES = {"offramp": ROOT / "src/offramp", "studies": ROOT / "studies"}


def stages():
    """Return every stage, by DVC's address without an item; of a group what its items share."""
    found = {}
    for file in FILES:
        prefix = "" if file == "dvc.yaml" else f"{file}:"
        for name, entry in read_yaml(ROOT / file)["stages"].items():
            found[prefix + name] = {**entry, **entry.get("do", {})}
    return found


def script_of(stage):
    """Return the file that a stage's command runs."""
    words = stage["cmd"].split()
    return ROOT / (words[1] if words[1] != "-m" else words[2].replace(".", "/") + ".py")


@cache
def imported_files(file):
    """Our files that a file imports, anywhere in it but under TYPE_CHECKING."""
    found = set()
    for node in _nodes(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            first, *rest = name.split(".")
            if first not in PACKAGES:
                continue
            for end in range(1, len(rest) + 1):
                base = PACKAGES[first].joinpath(*rest[:end])
                found |= {path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()}
    return found


def _nodes(node):
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)):
            yield child
            yield from _nodes(child)


def import_closure(file):
    """Return the relative paths of all our files that running `file` may import, itself among them."""
    seen, waiting = set(), {file}
    while waiting:
        path = waiting.pop()
        seen.add(path)
        waiting |= imported_files(path) - seen
    return {str(path.relative_to(ROOT)) for path in seen}


def is_docstring(path):
    """Whether a file holds nothing that runs: a package's docstring."""
    return all(isinstance(node, ast.Expr) for node in ast.parse((ROOT / path).read_text()).body)


def run(folder, *command, status=0, **environment):
    bin_folder = str(Path(sys.executable).parent)
    variables = {name: value for name, value in os.environ.items() if not name.startswith("DVC_")}
    variables |= {"PATH": bin_folder + os.pathsep + os.environ["PATH"], "PYTHONPATH": str(folder / "src")} | environment
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def reproduce(folder, *arguments):
    """Run the pipelines and return the stages that ran, without those that always do."""
    return set(re.findall(r"Running stage '([^']+)'", run(folder, "dvc", "repro", *arguments))) - ALWAYS


@cache
def _parsed(text):
    """Return what DVC's parser makes of a text, which for locks and our parameters is what a faster one does."""
    return yaml.load(text, yaml.CSafeLoader)


def _dumped(data):
    plain = json.loads(json.dumps(data))  # DVC's ordered dictionaries are none to this writer
    return yaml.dump(plain, Dumper=yaml.CSafeDumper, sort_keys=False)


def reproduce_here(folder, **options):
    """As `reproduce`, by DVC in this process, with another YAML parser: what DVC does otherwise is mostly parsing."""
    import dvc.utils.serialize._yaml as dvc_yaml
    from dvc.repo import Repo

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PYTHONPATH", str(folder / "src"))
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        for name in ("parse_yaml", "parse_yaml_for_update"):
            patch.setattr(dvc_yaml, name, lambda text, *_, **__: deepcopy(_parsed(text)))
        patch.setattr(dvc_yaml, "_dump", lambda data, stream: stream.write(_dumped(data)))
        with Repo(str(folder)) as repo:
            return {stage.addressing for stage in repo.reproduce(**options)} - ALWAYS


def commit(folder):
    run(folder, "git", "add", "-A")
    run(folder, "git", "-c", "user.name=test", "-c", "user.email=test@example.com", "commit", "-qm", "small")


STUB = """\
import hashlib, json, os, sys
from pathlib import Path

import yaml

sys.path.insert(0, "src")
from offramp.project import declared

declared.read_yaml = lambda path: yaml.load(Path(path).read_text(), yaml.CSafeLoader)  # in a tenth of the time
declared_params = declared.declared_params


def content(path):
    files = sorted(path.rglob("*.*")) if path.is_dir() else [path]
    return [file.read_text() for file in files if "__pycache__" not in file.parts]


split = sys.argv.index("--")
deps = [content(Path(path)) for path in sys.argv[1:split]]
for out in sys.argv[split + 1 :]:
    params = declared_params(os.environ["DVC_STAGE"])
    if "deployed" in out:
        params.get("calibrate", {}).pop("targets", None)
    digest = hashlib.sha256(json.dumps([out, deps, params], default=str, sort_keys=True).encode()).hexdigest()
    path = Path(out) if Path(out).suffix else Path(out, "stub.txt")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(digest)
"""
KEPT = ("src/offramp/project/declared.py", "src/offramp/project/yaml.py", "src/offramp/project/errors.py")


def stub_checkout(folder):
    """Make a checkout of the real dvc.yaml files whose commands write digests of what their stages declare.

    Every room holds one file; how a stage finds its parameters is the real code. metrics/deployed.json does not depend
    on `calibrate.targets`: as where the selected policy, which has another list of targets, stays as it is.
    """
    for name in (*PARAMS, *KEPT, ".gitignore", ".dvcignore", ".dvc/config"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    for stage in stages().values():
        for dep in stage.get("deps", []):
            if (ROOT / dep).exists() and dep.startswith(("src/", "stages/", "studies/")):
                target = folder / dep if (ROOT / dep).is_file() else folder / dep / "room.py"
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists():
                    target.write_text(f"# {dep}\n")
    for package in ("src/offramp", "src/offramp/project"):
        (folder / package / "__init__.py").touch()
    (folder / "stub.py").write_text(STUB)
    for file in FILES:
        content = read_yaml(ROOT / file)
        for entry in content["stages"].values():
            _stub(entry.get("do", entry))
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(yaml.safe_dump(content, sort_keys=False))
    run(folder, "git", "init", "-q")
    commit(folder)
    return folder


def _stub(entry):
    outs = [out if isinstance(out, str) else next(iter(out)) for out in outputs(entry)]
    entry["cmd"] = " ".join(["python stub.py", *entry.get("deps", []), "--", *outs])


def outputs(entry):
    return [out for kind in ("outs", "metrics", "plots") for out in entry.get(kind, [])]
