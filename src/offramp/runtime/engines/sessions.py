"""ONNX Runtime sessions, one per piece of a network. Needs onnxruntime and NumPy, neither torch nor onnx.

All sessions share one pool of threads. Pools of their own would fight for the cores: while one session works, the
workers of the others still spin; and without spinning every convolution waits for a thread to wake up, which at batch
1 costs more than it saves. A step writes into arrays of its own, made once: features are so large that fresh memory for
every batch costs as much as a head.
"""

from contextlib import suppress
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from offramp.runtime.engines.pieces import NO_LABELS, Output

FEATURES = "features_"  # and the number of the exit
LABEL = "label"
UNCERTAINTY = "uncertainty"
ERRORS_ONLY = 3
SLOTS = 64  # batch sizes whose bindings are kept
SMALL = 2**14  # bytes that are sooner copied than bound
TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,  # features of a quantised network
}


class SessionStep:
    """One piece: from images or features to the answer at its exit, and the features where a later piece needs them.

    What it gives is overwritten by its next call.
    """

    def __init__(self, model: bytes, threads: int) -> None:
        self._session = open_session(model, threads)
        self._input = self._session.get_inputs()[0].name
        self._starts = not self._input.startswith(FEATURES)
        outputs = self._session.get_outputs()
        self._names = [output.name for output in outputs]
        self._heads = [name for name in self._names if not name.startswith((FEATURES, LABEL, UNCERTAINTY))]
        self._features = next((name for name in self._names if name.startswith(FEATURES)), None)
        self._shapes = {output.name: tuple(output.shape[1:]) for output in outputs}
        self._types = {output.name: TYPES[output.type] for output in outputs}
        self._room = 0  # samples that the arrays hold
        self._arrays: dict[str, NDArray[Any]] = {}
        self._slots: dict[int, _Slot] = {}

    def __call__(self, features: Any) -> Output:
        features = np.ascontiguousarray(features)
        slot = self._slots.get(len(features)) or self._make_slot(len(features))
        slot.take_in(features)
        self._session.run_with_iobinding(slot.binding)
        if self._starts:
            slot.forget()  # the caller's images
        values = slot.values
        after = None if self._features is None else values[self._features]
        if not self._heads:
            return Output(after, values.get(LABEL, NO_LABELS), values.get(UNCERTAINTY))
        logits = np.stack([values[name] for name in self._heads], axis=1)
        return Output(after, logits[:, -1].argmax(axis=1), logits=logits)

    def take(self, features: NDArray[Any], rows: NDArray[np.intp]) -> NDArray[Any]:
        """Return these rows of the features that the last call gave, in an array that the next `take` overwrites."""
        kept = self._arrays["kept"][: len(rows)]
        return np.take(features, rows, axis=0, out=kept, mode="clip")  # clip: the default copies `out` first

    def _make_slot(self, samples: int) -> "_Slot":
        """Return outputs for batches of this size: the first rows of arrays that all sizes share."""
        if len(self._slots) == SLOTS:
            self._slots.clear()
        if samples > self._room:
            self._slots.clear()
            self._room = samples
            self._arrays = {name: np.empty((samples, *self._shapes[name]), self._types[name]) for name in self._names}
            if self._features is not None:
                self._arrays["kept"] = np.empty_like(self._arrays[self._features])
        values = {name: self._arrays[name][:samples] for name in self._names}
        binding = self._session.io_binding()
        for name, value in values.items():
            binding.bind_output(name, "cpu", 0, value.dtype, value.shape, value.ctypes.data)
        slot = self._slots[samples] = _Slot(binding, values, self._input)
        return slot


class _Slot:
    """Where batches of one size go: the binding, the outputs by name, and the input that is bound now."""

    def __init__(self, binding: Any, values: dict[str, NDArray[Any]], name: str) -> None:
        self.binding, self.values, self._name = binding, values, name
        self._bound: NDArray[Any] | None = None
        self._own: NDArray[Any] | None = None

    def take_in(self, features: NDArray[Any]) -> None:
        """Bind an input. A small one is copied, which is sooner done; what the step before gives is bound already."""
        if features is self._bound:
            return
        if features.nbytes <= SMALL:
            if self._own is None or self._own.shape != features.shape or self._own.dtype != features.dtype:
                self._own = np.empty_like(features)
            np.copyto(self._own, features)
            features = self._own
            if features is self._bound:
                return
        self._bind(features)

    def forget(self) -> None:
        """Let go of an input that is not our own copy."""
        if self._bound is not self._own:
            self._bound = None

    def _bind(self, features: NDArray[Any]) -> None:
        self.binding.bind_input(self._name, "cpu", 0, features.dtype, features.shape, features.ctypes.data)
        self._bound = features  # keeps it alive too


def open_session(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    """Return a session on the CPU; all sessions of this process share one pool of `threads` threads.

    The pool is made with the first session; one that exists already, whatever its size, serves.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.use_per_session_threads = False
    with suppress(onnxruntime.capi.onnxruntime_pybind11_state.Fail):  # there is one
        onnxruntime.set_global_thread_pool_sizes(threads, 1)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
