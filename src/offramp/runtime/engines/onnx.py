"""The engine `onnx`: pieces cut out of an exported network, run by ONNX Runtime on the CPU."""

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from offramp.runtime.engines.graphs import answer, cut
from offramp.runtime.engines.pieces import Piece, Step, every_exit
from offramp.runtime.engines.sessions import SessionStep

if TYPE_CHECKING:
    from offramp.scores.scoring import Scoring


class OnnxEngine:
    """Sessions for the pieces of an exported network (`offramp.runtime.engines.exporting`)."""

    def __init__(self, network: ModelProto, threads: int, name: str = "onnx") -> None:
        self.name = name
        self._network, self._threads = network, threads

    def step(self, piece: Piece, scoring: "Scoring | None") -> Step:
        return SessionStep(piece_model(self._network, piece, scoring).SerializeToString(), self._threads)

    def exit_logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return every exit's logits (samples, exits, classes) of uint8 images."""
        logits = self._every_exit(images).logits
        assert logits is not None, "a graph without a score gives logits"
        return logits

    @cached_property
    def _every_exit(self) -> Step:
        n_exits = sum(output.name.startswith("logits_") for output in self._network.graph.output)
        return SessionStep(cut(self._network, every_exit(n_exits)).SerializeToString(), self._threads)


def piece_model(network: ModelProto, piece: Piece, scoring: "Scoring | None") -> ModelProto:
    """Return the graph of a piece that ends with its answer; without a scoring, with the label alone.

    A score that has no graph gets the logits of the piece's heads and is computed outside; so does a piece that is not
    to be answered.
    """
    model = cut(network, piece)
    if not piece.answered:
        return model
    if scoring is not None and scoring.record.graph is None:
        return model
    return answer(model, piece, scoring)
