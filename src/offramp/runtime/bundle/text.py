"""The README of a bundle: what it is, how to use it from Python and from the command line."""

from offramp.policies.policy import Policy
from offramp.policies.rules import Rule
from offramp.runtime.bundle.schema import MANIFEST, Model, PieceEntry, Preprocessing
from offramp.runtime.policy_pieces import skips_heads

TEXT = """\
# {policy}

{warning}An early-exit network with its thresholds, exported by offramp {version}: model `{model}` \
(sha256 `{sha256}`), policy `{policy}`, {n_classes} classes, exits {exits}.{rule}

Use it from Python (needs `offramp[runtime]`: ONNX Runtime, NumPy and Pillow; no PyTorch):

```python
from offramp.runtime.bundle import load

bundle = load("path/to/this/folder", threads=2)
for answer in bundle.predict_files(["image.png", "folder/of/images"]):
    print(answer)
answers = bundle(images)  # a NumPy array, {array}
print([bundle.classes[label] for label in answers.label])
```

or from the command line:

```
offramp predict --bundle path/to/this/folder image.png folder/of/images
```

Image files are turned as EXIF says, brought to {mode} and, where they have another size, resized to \
{height}×{width} (bilinear); pixels become [0, 1] inside the first stage. `{manifest}` says all of this to programs, \
with each stage's inputs and outputs; its digests show accidental changes and partial copies, not intent.
"""

RULE = """

It decides for {words}: all images of a batch leave at the same exit. `bundle(images)` takes its images as one batch; \
`predict_files` and the command line make batches of this size unless told otherwise.\
"""

ROUTE = """

Under its rule, `{rule}`, images skip heads: after a head that ran, an image that does not leave is told at which exit \
to look next. `stage_N.onnx` goes on to exit N, `head_N.onnx` answers there.\
"""


def readme(
    version: str,
    model: Model,
    classes: list[str],
    preprocessing: Preprocessing,
    pieces: list[PieceEntry],
    policy: Policy,
) -> str:
    """Return the text; an infeasible policy is named so before anything else."""
    channels, height, width = preprocessing.image_shape
    return TEXT.format(
        policy=policy.name,
        rule=_rule(policy.rule),
        warning=f"**{policy.warning}**\n\n" if policy.warning else "",
        version=version,
        model=model.name,
        sha256=model.sha256[:12],
        n_classes=len(classes),
        exits=", ".join(dict.fromkeys(entry.exit.removeprefix("exit_") for entry in pieces)),
        array=f"uint8 (samples, {height}, {width}, {channels})",
        mode=preprocessing.channels,
        height=height,
        width=width,
        manifest=MANIFEST,
    )


def _rule(rule: Rule) -> str:
    if skips_heads(rule):
        return ROUTE.format(rule=rule.name)
    return "" if rule.batch_size is None else RULE.format(words=rule.words)
