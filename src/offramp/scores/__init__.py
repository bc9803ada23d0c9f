"""From logits to one uncertainty per sample and exit, and what has to be fitted for it; `registry` has all scores."""

from offramp.scores import softmax, change, activation  # noqa: I001 (they register their scores in this order)

__all__ = ["activation", "change", "softmax"]
