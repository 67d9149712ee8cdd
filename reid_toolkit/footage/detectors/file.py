"""Detects people with a model file."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from reid_toolkit.errors import ModelError, first_line
from reid_toolkit.footage.detectors import detr, final_boxes, yolox
from reid_toolkit.footage.detectors.forms import Floats, Form, in_full, label_of_person, shapes
from reid_toolkit.footage.detectors.onnx_file import OnnxFile
from reid_toolkit.footage.detectors.openvino_file import OpenVinoFile
from reid_toolkit.footage.detectors.running import Arrays, Input, Running
from reid_toolkit.images import Image

DEFAULT_SIZE = 640
"""Height and width used for a model that accepts any size."""
PADDING = 114
"""Grey level with which YOLOX pads frames in training."""

FORMS = (yolox, final_boxes, detr)
"""The modules of forms. Each knows its own shapes, and says in ``EXPECTED`` what they are."""
EXPECTED = "expected one colour picture as input, and one of these outputs: " + "; ".join(
    module.EXPECTED for module in FORMS
)


class FileDetector:
    """Detects people with a model file: ONNX, or the .xml of OpenVINO. See :class:`Detector`.

    The form of its outputs is recognised when it is loaded, from the outputs for a grey picture. ``threads`` is the
    number of the runtime's threads; None lets the runtime choose. ``person_label`` is the label of a person, for
    files that do not say it.

    Raises:
        ModelError: the file is not a detector that we can read, or does not say which label is a person's.
        MissingDependencyError: the file needs openvino, which is not installed.
    """

    def __init__(self, path: Path, threads: int | None = None, person_label: int | None = None) -> None:
        self.path = path
        self.graph = start(path, threads)
        self.picture = self.find_picture()
        self.channels_last = self.picture.shape[1] != 3 and self.picture.shape[3] == 3
        sides = self.picture.shape[1:3] if self.channels_last else self.picture.shape[2:]
        self.height, self.width = (side or DEFAULT_SIZE for side in sides)
        grey = np.full((self.height, self.width, 3), PADDING, np.uint8)
        outputs = self.run(grey, rgb=False)
        self.form = self.find_form(outputs)
        try:
            self.person = label_of_person(person_label, self.graph.classes, self.form)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from None
        self.name = f"{self.form.family}:{self.graph.digest[:16]}"
        if person_label is not None:
            self.name += f":{person_label}"
        self(grey)  # so that faults of the file show now

    def find_picture(self) -> Input:
        """Return the input that takes frames."""
        inputs = self.graph.inputs
        pictures = [one for one in inputs if one.name != detr.SIZES]
        got = f"the input{'s' * (len(inputs) != 1)} {', '.join(map(str, inputs))}"
        if len(pictures) != 1 or len(pictures[0].shape) != 4:
            raise self.unlike(got)
        (picture,) = pictures
        if picture.dtype not in (np.float32, np.float16, np.uint8):
            raise self.unlike(got)
        if 3 not in (picture.shape[1], picture.shape[3]) and picture.shape[1] is not None:
            raise self.unlike(got)
        if picture.shape[0] not in (1, None):
            raise ModelError(
                f"{self.path}: takes {picture.shape[0]} pictures at once: expected one: export it with batch size 1"
            )
        return picture

    def find_form(self, outputs: Arrays) -> Form:
        """Recognise the form of the outputs for a grey picture."""
        for module in FORMS:
            form = module.find(outputs, self.height, self.width)
            if form is not None:
                return form
        raise self.unlike("the outputs " + ", ".join(str(list(shape)) for shape in shapes(outputs)))

    def start(self, frame_rate: float) -> None:
        """Do nothing, because each frame is handled on its own."""

    def __call__(self, frame: Image) -> tuple[Floats, Floats]:
        height, width = frame.shape[:2]
        if self.form.letterboxed:
            picture, scale = letterbox(frame, self.height, self.width)
            scales = np.full(4, scale, np.float32)
        else:
            picture = stretched(frame, self.height, self.width)
            scales = np.array([self.width / width, self.height / height] * 2, np.float32)
        outputs = self.run(picture, rgb=self.form.rgb)
        try:
            boxes, scores = self.form.people(outputs, self.person)
        except ModelError as error:
            raise ModelError(f"{self.path}: {error}") from None
        if not np.isfinite(boxes).all():
            raise ModelError(f"{self.path}: gives boxes that are not numbers: the file is damaged")
        boxes = np.clip(boxes / scales, 0, np.array([width, height] * 2, np.float32)).astype(np.float32)
        seen = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        return boxes[seen], np.minimum(scores[seen], 1)

    def run(self, picture: Image, *, rgb: bool) -> Arrays:
        """Return the outputs for a picture (height, width, 3) uint8 BGR. If ``rgb``, it is given as RGB, 0 to 1."""
        values: Any = (picture[..., ::-1] if rgb else picture).astype(self.picture.dtype)
        if rgb and self.picture.dtype != np.uint8:
            values /= 255
        values = (values if self.channels_last else values.transpose(2, 0, 1))[None]
        given = {self.picture.name: np.ascontiguousarray(values)}
        for other in self.graph.inputs:
            if other.name == detr.SIZES:
                given[other.name] = np.ones((1, 2), other.dtype)
        try:
            return in_full(self.graph.run(given))
        except Exception as error:  # runtimes' exceptions have no common base
            raise ModelError(f"{self.path}: cannot be run: {first_line(error)}: {EXPECTED}") from None

    def unlike(self, got: str) -> ModelError:
        return ModelError(f"{self.path}: not a person detector we can read: {EXPECTED}; got {got}")


def start(path: Path, threads: int | None = None) -> Running:
    """Open a detector's file with the runtime that its first bytes indicate."""
    content = path.read_bytes()
    if content[:64].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return OpenVinoFile(path, content, threads)
    xml = path.with_suffix(".xml")
    if path.suffix.lower() == ".bin" and xml.is_file():
        raise ModelError(f"{path}: the weights of a model in OpenVINO's form: give {xml}")
    try:
        return OnnxFile(path, content, threads)
    except ModelError as error:
        raise ModelError(f"{error}: {EXPECTED}") from None


def stretched(frame: Image, height: int, width: int) -> Image:
    """Resize ``frame`` to (height, width, 3), whatever its aspect ratio."""
    return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def letterbox(frame: Image, height: int, width: int) -> tuple[Image, float]:
    """Scale ``frame`` into the upper left of (height, width, 3). Returns the picture and the scale."""
    scale = min(height / frame.shape[0], width / frame.shape[1])
    rows, columns = (max(1, round(side * scale)) for side in frame.shape[:2])  # a thin frame keeps a row or column
    picture = np.full((height, width, 3), PADDING, np.uint8)
    picture[:rows, :columns] = cv2.resize(frame, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return picture, scale
