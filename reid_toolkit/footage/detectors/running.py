"""A model's file behind one call, whatever runs it."""

import glob
import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.runtime.session import PROVIDERS, open_session

Arrays = Mapping[str, NDArray[Any]]
"""By the names of a graph's inputs or outputs."""

KINDS: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8, "tensor(int64)": np.int64,
}  # fmt: skip
"""Element types by onnxruntime's names."""


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


class Running(Protocol):
    """A graph that is ready to run."""

    inputs: list[Input]
    digest: str
    """SHA-256 of the file and its weights, in hex."""

    def run(self, given: Arrays) -> Arrays:
        """All outputs, in the graph's order. What is raised has no common base."""


def start(path: Path, threads: int | None = None) -> Running:
    """Open a detector's file. ``threads`` are those of its runtime; None leaves it to that.

    Raises ModelError for a file that is no model.
    """
    return OnnxFile(path, path.read_bytes(), threads)


class OnnxFile:
    """An ONNX file in onnxruntime, on its GPU where it has one. Weights may lie in a second file beside it."""

    def __init__(self, path: Path, content: bytes, threads: int | None) -> None:
        with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # that there is no GPU here
            # TensorRT is not asked: it would build an engine first, for minutes.
            self.session = open_session(content, str(path), threads, usable("cuda", "cpu"), weights=path.parent)
        self.inputs = [
            Input(
                one.name,
                tuple(axis if isinstance(axis, int) and axis > 0 else None for axis in one.shape),
                KINDS.get(one.type),
            )
            for one in self.session.get_inputs()
        ]
        self.outputs = [one.name for one in self.session.get_outputs()]
        self.digest = digest(path, content)

    def run(self, given: Arrays) -> Arrays:
        return dict(zip(self.outputs, self.session.run(None, dict(given)), strict=True))


def digest(path: Path, content: bytes) -> str:
    """Over a model's file, and over those with its weights, which lie beside it and begin with its name."""
    whole = hashlib.sha256(content)
    for other in sorted(path.parent.glob(f"{glob.escape(path.stem)}*data*")):
        with open(other, "rb") as handle:
            whole.update(hashlib.file_digest(handle, "sha256").digest())
    return whole.hexdigest()


def usable(*wanted: str) -> list[str]:
    """Of our names of providers, those that this onnxruntime has."""
    import onnxruntime

    found = onnxruntime.get_available_providers()
    return [name for name in wanted if PROVIDERS[name] in found]
