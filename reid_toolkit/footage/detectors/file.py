"""People by a model's file."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import ModelError
from reid_toolkit.footage.detectors import yolox
from reid_toolkit.footage.detectors.forms import Floats, in_full, shapes
from reid_toolkit.footage.detectors.running import Arrays, start
from reid_toolkit.images import Image
from reid_toolkit.runtime.session import first_line

DEFAULT_SIZE = 640
"""Height and width given to a model that takes any."""
PADDING = 114
"""Grey level of the frame's surroundings in YOLOX's training."""

EXPECTED = (
    "expected a YOLOX model: one image input (1, 3, H, W) float32 or float16, and either one output (1, anchors, 5 + "
    "classes) or boxes (1, N, 5) with labels (1, N)"
)


class FileDetector:
    """Finds people with a model's file. See :class:`Detector`.

    Which form its answers have is seen at loading: it is sent a grey picture.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        self.path = path
        try:
            self.graph = start(path, threads)
        except ModelError as error:
            raise ModelError(f"{error}: {EXPECTED}") from None
        inputs = self.graph.inputs
        shape = inputs[0].shape
        if len(inputs) != 1 or inputs[0].dtype not in (np.float32, np.float16) or len(shape) != 4 or shape[1] != 3:
            raise self.unlike(f"the input{'s' * (len(inputs) > 1)} {', '.join(map(str, inputs))}")
        self.height, self.width = (side or DEFAULT_SIZE for side in shape[2:])
        outputs = self.run(np.full((self.height, self.width, 3), PADDING, np.uint8))
        form = yolox.find(outputs, self.height, self.width)
        if form is None:
            raise self.unlike("the outputs " + ", ".join(str(list(shape)) for shape in shapes(outputs)))
        self.form = form
        self.name = f"{form.family}:{self.graph.digest[:16]}"

    def start(self, frame_rate: float) -> None:
        """Nothing to forget: each frame is taken by itself."""

    def __call__(self, frame: Image) -> tuple[Floats, Floats]:
        picture, scale = letterbox(frame, self.height, self.width)
        boxes, scores = self.form.people(self.run(picture))
        limits = np.array([frame.shape[1], frame.shape[0]] * 2, np.float32)
        return np.clip(boxes / np.float32(scale), 0, limits).astype(np.float32), scores

    def run(self, picture: Image) -> Arrays:
        """The answers to a picture (height, width, 3) uint8 BGR."""
        entry = self.graph.inputs[0]
        values: NDArray[Any] = picture.transpose(2, 0, 1)[None].astype(entry.dtype)
        try:
            return in_full(self.graph.run({entry.name: values}))
        except Exception as error:  # runtimes' exceptions have no common base
            raise ModelError(f"{self.path}: cannot be run: {EXPECTED}; {first_line(error)}") from None

    def unlike(self, got: str) -> ModelError:
        return ModelError(f"{self.path}: not a person detector we can read: {EXPECTED}; got {got}")


def letterbox(frame: Image, height: int, width: int) -> tuple[Image, float]:
    """``frame`` scaled into the upper left of (height, width, 3), and the scale."""
    scale = min(height / frame.shape[0], width / frame.shape[1])
    rows, columns = round(frame.shape[0] * scale), round(frame.shape[1] * scale)
    picture = np.full((height, width, 3), PADDING, np.uint8)
    picture[:rows, :columns] = cv2.resize(frame, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return picture, scale
