"""A detector's ONNX file in onnxruntime."""

import glob
import hashlib
import warnings
from pathlib import Path

import numpy as np

from reid_toolkit.footage.detectors.running import PIXELS, Arrays, Classes, Input, refuse_other_pixels
from reid_toolkit.runtime.session import PROVIDERS, open_session

KINDS: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8, "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}  # fmt: skip
"""Element types by onnxruntime's names."""
INFO = "model_info "
"""Before the names of what Intel's exporters say of a file."""


class OnnxFile:
    """An ONNX file in onnxruntime, on its GPU where it has one. Weights may lie in a second file beside it.

    ``threads`` are onnxruntime's; None leaves it to that. Raises ModelError for a file that is no model.
    """

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
        said = self.session.get_modelmeta().custom_metadata_map
        refuse_other_pixels(path, {name: said.get(INFO + name, "") for name in PIXELS})
        self.classes = Classes(tuple(said.get(f"{INFO}labels", "").split()))
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
