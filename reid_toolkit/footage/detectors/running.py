"""What a detector's file is once something runs it: the contract of onnxruntime's and OpenVINO's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import ModelError

Arrays = Mapping[str, NDArray[Any]]
"""By the names of a graph's inputs or outputs."""


class Input(NamedTuple):
    """What a graph takes."""

    name: str
    shape: tuple[int | None, ...]
    """None where it varies."""
    dtype: type[np.generic] | None
    """None for one that is not known here."""

    def __str__(self) -> str:
        axes = ", ".join("any" if axis is None else str(axis) for axis in self.shape)
        return f"{self.name} ({axes}) {'of another type' if self.dtype is None else self.dtype.__name__}"


class Classes(NamedTuple):
    """What a file says of its own labels."""

    names: tuple[str, ...] = ()
    """In the order of the labels, from 0; empty where it names none."""
    total: int | None = None
    """How many there are, without a background."""
    first: int = 0
    """The lowest label."""


PIXELS = ("mean_values", "scale_values", "reverse_input_channels")
"""Where Intel's exporters write what they leave to whoever runs the file."""


def refuse_other_pixels(where: Path, said: Mapping[str, str]) -> None:
    """Raise :class:`ModelError` where a file wants to be given other pixels than 0 to 255 in the order BGR; ``said`` is
    what it says under the names of PIXELS."""
    plain = {"mean_values": 0.0, "scale_values": 1.0}
    for name in PIXELS:
        words = said.get(name, "").replace(",", " ").split()
        try:
            as_it_is = all(float(word) == plain[name] for word in words)
        except (KeyError, ValueError):
            as_it_is = all(word.lower() in ("no", "false", "0") for word in words)
        if not as_it_is:
            raise ModelError(
                f"{where}: wants pixels with {name} {said[name]}: expected BGR of 0 to 255: export it with that inside"
            )


class Running(Protocol):
    """A graph that is ready to run."""

    inputs: list[Input]
    classes: Classes
    digest: str
    """SHA-256 of the file and its weights, in hex."""

    def run(self, given: Arrays) -> Arrays:
        """All outputs, in the graph's order. What is raised has no common base."""
