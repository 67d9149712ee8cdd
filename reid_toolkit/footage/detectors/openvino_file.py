"""Runs a detector in OpenVINO's form (an .xml and a .bin file) with OpenVINO."""

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np

from reid_toolkit.errors import ModelError
from reid_toolkit.footage.detectors.running import PIXELS, Arrays, Classes, Input, refuse_other_pixels
from reid_toolkit.runtime.openvino import import_openvino

OLDEST = 10
"""The oldest version of the form that OpenVINO still reads."""
ROOT = re.compile(rb"<net\b[^>]*\bversion\s*=\s*[\"'](\d+)[\"']")
INFO = "model_info"
"""The section in which Intel's exporters describe a file."""
KINDS: dict[str, type[np.generic]] = {
    "f32": np.float32, "f16": np.float16, "u8": np.uint8, "i64": np.int64, "i32": np.int32,
}  # fmt: skip
"""Element types by OpenVINO's names for them."""


class OpenVinoFile:
    """An ``.xml`` file and its weights in OpenVINO, on the CPU in float32.

    ``threads`` is the number of OpenVINO's threads; None lets it choose.

    Raises:
        ModelError: the file is not an OpenVINO model, is too old, or lacks its weights.
        MissingDependencyError: the package openvino is not installed.
    """

    def __init__(self, path: Path, content: bytes, threads: int | None) -> None:
        weights = check(path, content)
        openvino = import_openvino(f"{path}: a model in OpenVINO's form")
        # By default OpenVINO uses bfloat16 if the processor has it. One stream is enough: frames come one at a time.
        settings = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": "1"}
        if threads:
            settings["INFERENCE_NUM_THREADS"] = str(threads)
        core = openvino.Core()
        try:
            model = core.read_model(path, weights)
            self.compiled = core.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            raise ModelError(
                f"{path}: OpenVINO cannot read it, or {weights.name} beside it: {last_line(error)}: fetch both again"
            ) from None
        self.inputs = [
            Input(
                name_of(port, place), axes(port.get_partial_shape()), KINDS.get(port.get_element_type().get_type_name())
            )
            for place, port in enumerate(self.compiled.inputs)
        ]
        refuse_other_pixels(path, {name: said_of(model, name) for name in PIXELS})
        self.classes = classes_of(model)
        self.digest = hashlib.sha256(content + weights.read_bytes()).hexdigest()

    def run(self, given: Arrays) -> Arrays:
        try:
            outputs = self.compiled([given[one.name] for one in self.inputs])
        except RuntimeError as error:
            raise ModelError(last_line(error)) from None
        return {name_of(port, place): outputs[port] for place, port in enumerate(self.compiled.outputs)}


def check(path: Path, content: bytes) -> Path:
    """Check that OpenVINO can read the file, before OpenVINO prints its own messages. Returns the path of its
    weights."""
    root = ROOT.search(content, 0, 4096)
    if root is None:
        raise ModelError(f"{path}: not a model in OpenVINO's form: expected an .xml that begins with <net ...>")
    if int(root[1]) < OLDEST:
        raise ModelError(
            f"{path}: has version {int(root[1])} of OpenVINO's form, which OpenVINO no longer reads: expected {OLDEST} "
            "or later; convert the model again, or fetch a newer file of it"
        )
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise ModelError(f"{path}: {weights.name} is missing beside it: expected the model's weights there")
    return weights


def axes(shape: Any) -> tuple[int | None, ...]:
    if shape.rank.is_dynamic:
        return ()
    return tuple(axis.get_length() if axis.is_static else None for axis in shape)


def name_of(port: Any, place: int) -> str:
    """Return the first name of an input or output, or its position if it has no name."""
    return min(port.get_names(), default=str(place))


def said_of(model: Any, name: str) -> str:
    """Return what an exporter wrote under this name, several values joined by spaces; empty if there is nothing."""
    place = [INFO, name]
    return str(model.get_rt_info(place).astype(str)) if model.has_rt_info(place) else ""


def classes_of(model: Any) -> Classes:
    """Return what the file says about its labels: their names, else what its SSD layer shows."""
    names = said_of(model, "labels").split()
    if names:
        return Classes(tuple(names))
    for operation in model.get_ordered_ops():
        if operation.get_type_name() == "DetectionOutput":
            scores, priors = (axes(operation.input(place).get_partial_shape()) for place in (1, 2))
            said = operation.get_attributes()
            if scores[-1:] == (None,) or priors[-1:] == (None,) or not scores or not priors:
                break
            total = int(scores[-1] * (4 if said["normalized"] else 5) / priors[-1])  # type: ignore[operator]
            background = said["background_label_id"]
            first = int(background == 0 and not said["decrease_label_id"])
            return Classes(total=total - (0 <= background < total), first=first)
    return Classes()


def last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
