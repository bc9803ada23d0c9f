"""`offramp predict`: labels of image files from a bundle, as a table or as JSON lines."""

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from offramp.commands.options import add_command, needs, up_to

if TYPE_CHECKING:
    from offramp.runtime.bundle import Bundle, Prediction


STDIN = "-"
SOME_FAILED, NOTHING_WORKED = 1, 2  # exit status
EPILOG = """\
IMAGE is an image file, a folder (with its subfolders, in sorted order) or - for a list on standard input, one path a
line. Columns: the image, its label, the exit it took, the uncertainty there, and the milliseconds that the network
took for it, without decoding. An image that cannot be read is named on standard error and the rest goes on.
Exit status: 0; 1 where some images failed; 2 where none could be predicted or the bundle cannot be used.
"""


def add(commands: Any) -> None:
    predict = add_command(commands, "predict", "label images with a bundle", EPILOG)
    predict.add_argument("--bundle", type=Path, required=True, help="folder that `offramp export` wrote")
    predict.add_argument("images", nargs="+", metavar="IMAGE", help="file, folder or - (a list on standard input)")
    predict.add_argument("--json", action="store_true", help="JSON lines, written as answers come")
    text = "images at a time; default: what a policy that decides for whole batches was chosen for, else 1"
    predict.add_argument("--batch-size", type=up_to(65536), metavar="N", help=text)
    predict.add_argument("--threads", type=up_to(256), default=2, metavar="N", help="of the network; default 2")
    predict.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    with needs("runtime"):
        from offramp.runtime.bundle import Failure, Prediction, load
        from offramp.runtime.bundle.images import find_images

    bundle = load(options.bundle, options.threads)
    if bundle.policy.warning:
        _note(bundle.policy.warning)
    found: Iterable[str | Failure] = find_images(_given(options.images))
    write: Callable[[Prediction], None] = _write_json
    if not options.json:
        found = list(found)  # a column is as wide as its widest name
        write = _Table(bundle, [_shown(str(item)) for item in found if not isinstance(item, Failure)])
    done, failed, ms = 0, 0, 0.0
    for answer in bundle.predict_files(found, options.batch_size):
        if isinstance(answer, Failure):
            failed += 1
            _note(f"{_shown(answer.image)}: {answer.reason}")
            continue
        done, ms = done + 1, ms + answer.ms
        write(answer)
    _note(_summary(done, failed, ms))
    if not failed:
        return 0
    return SOME_FAILED if done else NOTHING_WORKED


def _given(images: Iterable[str]) -> Iterator[str]:
    """Yield the paths named on the command line and, for -, on standard input, as they come."""
    for image in images:
        if image == STDIN:
            lines = (os.fsdecode(line).rstrip("\r\n") for line in sys.stdin.buffer)
            yield from (line for line in lines if line)
        else:
            yield image


class _Table:
    """Prints a header, then a row per answer, in aligned columns."""

    def __init__(self, bundle: "Bundle", images: list[str]) -> None:
        self._image = max(map(len, ["image", *images]))
        self._label = max(len(_shown(name)) for name in ["label", *bundle.classes])
        self._exit = max(map(len, bundle.exits))
        self._begun = False

    def __call__(self, answer: "Prediction") -> None:
        if not self._begun:
            self._print("image", "label", "exit", "uncertainty", "ms")
            self._begun = True
        uncertainty = "-" if math.isnan(answer.uncertainty) else f"{answer.uncertainty:.4g}"
        self._print(_shown(answer.image), _shown(answer.label), answer.exit, uncertainty, f"{answer.ms:.3f}")

    def _print(self, image: str, label: str, name: str, uncertainty: str, ms: str) -> None:
        columns = f"{image:<{self._image}}  {label:<{self._label}}  {name:<{self._exit}}"
        print(f"{columns}  {uncertainty:>11}  {ms:>8}", flush=True)


def _write_json(answer: "Prediction") -> None:
    """Print one line; in ASCII, so that it survives any terminal, and names that are no text come back as they were."""
    content = answer._asdict() | {"ms": round(answer.ms, 6)}
    if math.isnan(answer.uncertainty):
        del content["uncertainty"]
    print(json.dumps(content), flush=True)


def _shown(name: str) -> str:
    """Return a name in one line: what cannot be printed is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in name)


def _summary(done: int, failed: int, ms: float) -> str:
    mean = f", {ms / done:.3f} ms each on average" if done else ""
    return f"{done} predicted{mean}" + (f"; {failed} failed" if failed else "")


def _note(text: str) -> None:
    print(f"offramp: {text}", file=sys.stderr, flush=True)
