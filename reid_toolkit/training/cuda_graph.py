"""A training step as a CUDA graph: a small batch's hundreds of kernels are started at once instead of one by one."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

WARM_UP = 3
"""Steps run one by one before the capture, in which libraries choose their kernels and reserve their memory. They are
steps like any other: nothing is trained twice."""


class GraphedStep:
    """A function of a named tuple of tensors (or None), whose shapes never change, giving a tensor; the same function
    at each call.

    It is not kept: a method's owner and its graph would hold each other, and with them gigabytes of the graph's memory
    until Python happens to look for such rings, which torch no longer asks it to before a capture.

    The tensor that a call returns is written over by the next one. Everything else that the function reads or
    writes has to stay where it is: weights, the optimiser's state, learning rates as tensors.
    """

    def __init__(self) -> None:
        self._calls = 0
        self._side = torch.cuda.Stream()

    def __call__(self, function: Callable[[Any], Tensor], inputs: Any) -> Tensor:
        self._calls += 1
        if self._calls <= WARM_UP:
            # As torch's notes on CUDA graphs have it: on a stream of its own, as the capture will be.
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
        """Record the function's kernels, which are not run."""
        self._graph = torch.cuda.CUDAGraph()
        self._inputs = type(inputs)(*(value if value is None else value.clone() for value in inputs))
        # Only this thread's calls are watched: others read crops ahead meanwhile.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._output = function(self._inputs)
