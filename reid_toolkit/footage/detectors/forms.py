"""What the answers of detectors mean: the contract of a form, and what forms share."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.footage.detectors.running import Arrays

Floats = NDArray[np.float32]

LEAST_SCORE = 0.1
"""Poorer boxes do not help the tracker (ByteTrack's own threshold)."""


class Form(Protocol):
    """How one kind of graph is fed and read."""

    family: str
    """Goes into the detector's name."""

    def people(self, outputs: Arrays) -> tuple[Floats, Floats]:
        """Boxes (N, 4) x1 y1 x2 y2 in pixels of the graph's input, and scores (N,): people of LEAST_SCORE and more."""


def shapes(outputs: Arrays) -> list[tuple[int, ...]]:
    return [output.shape for output in outputs.values()]


def in_full(outputs: Arrays) -> Arrays:
    """Half precision becomes float32, so that nothing is lost in what is done to it."""
    return {name: value.astype(np.float32) if value.dtype == np.float16 else value for name, value in outputs.items()}
