"""Runs a training step as a CUDA graph: the hundreds of kernels of a small batch start at once, not one by one."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

WARM_UP = 3
"""Steps run without a graph before the capture, so that libraries choose their kernels and reserve their memory. They
train like any other step: no batch is used twice."""


class GraphedStep:
    """Calls a function of a named tuple of tensors (or None) that returns a tensor. Shapes never change, and the
    function is the same at each call.

    The function is not stored: the object that owns it and its graph would refer to each other, and keep gigabytes of
    the graph's memory until Python's garbage collector runs, which torch no longer triggers before a capture.

    The next call overwrites the tensor that a call returned. Everything else that the function reads or writes must
    stay at its address: weights, the optimiser's state, learning rates as tensors.
    """

    def __init__(self) -> None:
        self._calls = 0
        self._side = torch.cuda.Stream()

    def __call__(self, function: Callable[[Any], Tensor], inputs: Any) -> Tensor:
        self._calls += 1
        if self._calls <= WARM_UP:
            # On a separate stream, as torch's notes on CUDA graphs require and as the capture will be.
            self._side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._side):
                output = function(inputs)
            torch.cuda.current_stream().wait_stream(self._side)
            return output
        if self._calls == WARM_UP + 1:
            self._capture(function, inputs)
        for place, value in zip(self._inputs, inputs, strict=True):
            if value is not None:
                place.copy_(value, non_blocking=True)
        self._graph.replay()
        return self._output

    def _capture(self, function: Callable[[Any], Tensor], inputs: Any) -> None:
        """Record the function's kernels without running them."""
        self._graph = torch.cuda.CUDAGraph()
        self._inputs = type(inputs)(*(value if value is None else value.clone() for value in inputs))
        # Only this thread's calls are watched, because other threads read crops ahead at the same time.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._output = function(self._inputs)
