"""Runs a detector's ONNX file with onnxruntime."""

import hashlib
import warnings
from pathlib import Path

import numpy as np

from reid_toolkit.footage.detectors.running import PIXELS, Arrays, Classes, Input, refuse_other_pixels
from reid_toolkit.runtime.external_data import external_files
from reid_toolkit.runtime.session import PROVIDERS, open_session

KINDS: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8, "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}  # fmt: skip
"""Element types by onnxruntime's names for them."""
INFO = "model_info "
"""Prefix of the metadata keys that Intel's exporters write."""


class OnnxFile:
    """An ONNX file in onnxruntime, on a GPU if onnxruntime can use one. Weights may lie in a second file beside it.

    ``threads`` is the number of onnxruntime's threads; None lets it choose. Raises ModelError if the file is no model.
    """

    def __init__(self, path: Path, content: bytes, threads: int | None) -> None:
        with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # a missing GPU needs no warning here
            # TensorRT is left out, because it would first build an engine for minutes.
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
    """Digest a model's file and the files with its weights, if they lie in other files."""
    whole = hashlib.sha256(content)
    for other in external_files(content, path.parent):
        with open(other, "rb") as handle:
            whole.update(hashlib.file_digest(handle, "sha256").digest())
    return whole.hexdigest()


def usable(*wanted: str) -> list[str]:
    """Return those of our names of providers that this onnxruntime has."""
    import onnxruntime

    available = onnxruntime.get_available_providers()
    return [name for name in wanted if PROVIDERS[name] in available]
