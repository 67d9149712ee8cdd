"""A detector's model that is ready to run: the interface for onnxruntime and OpenVINO."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import ModelError

Arrays = Mapping[str, NDArray[Any]]
"""Values by the names of a model's inputs or outputs."""


class Input(NamedTuple):
    """An input of a model."""

    name: str
    shape: tuple[int | None, ...]
    """None for an axis of variable length."""
    dtype: type[np.generic] | None
    """None for a type that we do not know."""

    def __str__(self) -> str:
        axes = ", ".join("any" if axis is None else str(axis) for axis in self.shape)
        return f"{self.name} ({axes}) {'of another type' if self.dtype is None else self.dtype.__name__}"


class Classes(NamedTuple):
    """What a file says about its own labels."""

    names: tuple[str, ...] = ()
    """In the order of the labels, from 0; empty if the file names none."""
    total: int | None = None
    """How many labels there are, without the background."""
    first: int = 0
    """The lowest label."""


PIXELS = ("mean_values", "scale_values", "reverse_input_channels")
"""Names under which Intel's exporters write preprocessing that the caller of the model must do."""


def refuse_other_pixels(where: Path, said: Mapping[str, str]) -> None:
    """Raise :class:`ModelError` if a file expects pixels other than BGR from 0 to 255. ``said`` holds what the file
    says under the names of PIXELS."""
    plain = {"mean_values": 0.0, "scale_values": 1.0}
    for name in PIXELS:
        words = said.get(name, "").replace(",", " ").split()
        try:
            as_it_is = all(float(word) == plain[name] for word in words)
        except (KeyError, ValueError):
            as_it_is = all(word.lower() in ("no", "false", "0") for word in words)
        if not as_it_is:
            raise ModelError(
                f"{where}: needs pixels with {name} {said[name]}: expected BGR of 0 to 255: export it with that inside"
            )


class Running(Protocol):
    """A model that is ready to run."""

    inputs: list[Input]
    classes: Classes
    digest: str
    """SHA-256 of the file and its weights, in hex."""

    def run(self, given: Arrays) -> Arrays:
        """Return all outputs, in the model's order. The exceptions it raises have no common base."""
