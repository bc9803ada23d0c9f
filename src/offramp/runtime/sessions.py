"""ONNX Runtime sessions, one per piece of a network. Needs onnxruntime and NumPy, neither torch nor onnx.

All sessions share one pool of threads. Pools of their own would fight for the cores: while one session works, the
workers of the others still spin; and without spinning every convolution waits for a thread to wake up, which at batch
1 costs more than it saves.
"""

from contextlib import suppress
from typing import Any

import numpy as np
import onnxruntime

from offramp.runtime.steps import Output

FEATURES = "features_"  # and the number of the exit
LABEL = "label"
UNCERTAINTY = "uncertainty"
ERRORS_ONLY = 3


class SessionStep:
    """One piece: from images or features to the answer at its exit, and the features where a later piece needs them."""

    def __init__(self, model: bytes, threads: int) -> None:
        self._session = open_session(model, threads)
        self._input = self._session.get_inputs()[0].name
        names = [output.name for output in self._session.get_outputs()]
        answer = [name for name in names if not name.startswith(FEATURES)]
        self._names = answer + [name for name in names if name.startswith(FEATURES)]
        self._n_answer = len(answer)
        self._kind = answer[0]
        self._judged = UNCERTAINTY in answer

    def __call__(self, features: Any) -> Output:
        values = self._session.run(self._names, {self._input: np.asarray(features)})
        after = values[-1] if len(values) > self._n_answer else None
        if self._judged:
            return Output(after, values[0], values[1])
        if self._kind == LABEL:
            return Output(after, values[0])
        logits = np.stack(values[: self._n_answer], axis=1)
        return Output(after, logits[:, -1].argmax(axis=1), logits=logits)


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
