"""The engine `torch`: eager PyTorch on any device, channels last in memory, batch norm folded where that is exact."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from offramp.networks.early_exit import EarlyExitNetwork, to_input
from offramp.runtime.engines.batch_norm import fold_batch_norm
from offramp.runtime.engines.pieces import NO_LABELS, Output, Piece, Step, every_exit

if TYPE_CHECKING:
    from offramp.scores.scoring import Scoring


class TorchEngine:
    """Runs the segments and heads themselves. The network is copied, folded and moved to `device`."""

    name = "torch"

    def __init__(self, network: EarlyExitNetwork, device: torch.device) -> None:
        self._stages = [(fold_batch_norm(segment), fold_batch_norm(head)) for segment, head in network.stages]
        for module in (module for stage in self._stages for module in stage):
            module.eval().to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._device = device

    def step(self, piece: Piece, scoring: "Scoring | None") -> Step:  # noqa: ARG002 (the runtime computes every score)
        first = 0 if piece.start is None else piece.start + 1
        segments = [segment for segment, _ in self._stages[first : piece.end + 1]]
        heads = {k - first: self._stages[k][1] for k in piece.heads}
        return _TorchStep(segments, heads, self._device)

    def exit_logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return every exit's logits (samples, exits, classes) of uint8 images."""
        logits = self.step(every_exit(len(self._stages)), None)(images).logits
        assert logits is not None, "a step of torch gives logits"
        return logits


class _TorchStep:
    """Some segments, and heads after some of them, by position; -1 is before the first."""

    def __init__(self, segments: list[nn.Module], heads: dict[int, nn.Module], device: torch.device) -> None:
        self._segments, self._heads, self._device = segments, heads, device

    @torch.inference_mode()
    def __call__(self, features: Any) -> Output:
        if isinstance(features, np.ndarray):
            features = torch.from_numpy(features)
        if features.dtype == torch.uint8:
            features = to_input(features.to(self._device).permute(0, 3, 1, 2))
        logits = [self._heads[-1](features)] if -1 in self._heads else []  # a head alone
        for position, segment in enumerate(self._segments):
            features = segment(features)
            if position in self._heads:
                logits.append(self._heads[position](features))
        if not logits:
            return Output(features, NO_LABELS)
        values: NDArray[np.float32] = torch.stack(logits, dim=1).cpu().numpy()
        return Output(features, values[:, -1].argmax(axis=1), logits=values)

    def take(self, features: Tensor, rows: NDArray[np.intp]) -> Tensor:
        return features[torch.from_numpy(rows).to(self._device)]
