"""People by a YOLOX-family ONNX model (Ge et al. 2021), in each of the forms such models are exported in."""

import glob
import hashlib
import warnings
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import ModelError
from reid_toolkit.images import Image
from reid_toolkit.runtime.session import PROVIDERS, open_session

DEFAULT_SIZE = 640
"""Height and width given to a model that takes any."""
PERSON = 0
"""Its class in COCO, and in models of people only."""
LEAST_SCORE = 0.1
"""Poorer boxes do not help the tracker (ByteTrack's own threshold)."""
NMS_IOU = 0.65
"""As in YOLOX's own evaluation: people overlap."""
PADDING = 114
"""Grey level of the frame's surroundings in training."""
STRIDES = ((8, 16, 32), (8, 16, 32, 64))
"""Of the usual models and of the P6 ones."""

EXPECTED = (
    "expected a YOLOX model: one image input (1, 3, H, W) float32 or float16, and either one output (1, anchors, 5 + "
    "classes) or boxes (1, N, 5) with labels (1, N)"
)
KINDS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
"""Of the input, by onnxruntime's names."""


class YoloxDetector:
    """Finds people with a YOLOX model. See :class:`Detector`.

    The forms: "raw", a row for each anchor with offsets in grid cells and log sizes (Megvii's export);
    "decoded", the same in pixels; "nms", boxes left after suppression with their labels (OpenMMLab's
    export). The first two have the same shapes, so a grey picture is sent through at loading to tell them
    apart.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        content = path.read_bytes()
        try:
            with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # that there is no GPU here
                # TensorRT is not asked: it would build an engine first, for minutes.
                self.session = open_session(content, str(path), threads, usable("cuda", "cpu"), weights=path.parent)
        except ModelError as error:
            raise ModelError(f"{error}: {EXPECTED}") from None
        self.path = path
        self.name = f"yolox:{digest(path, content)[:16]}"
        inputs = self.session.get_inputs()
        shape = inputs[0].shape
        if len(inputs) != 1 or inputs[0].type not in KINDS or len(shape) != 4 or shape[1] != 3:
            got = ", ".join(f"{i.name} {i.shape} {i.type}" for i in inputs)
            raise self.unlike(f"the input{'s' * (len(inputs) > 1)} {got}")
        self.input, self.kind = inputs[0].name, KINDS[inputs[0].type]
        self.height, self.width = (side if isinstance(side, int) else DEFAULT_SIZE for side in shape[2:])
        self.form = self.find_form()

    def start(self, frame_rate: float) -> None:
        """Nothing to forget: each frame is taken by itself."""

    def __call__(self, frame: Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        picture, scale = letterbox(frame, self.height, self.width)
        boxes, scores = self.people(self.run(picture))
        limits = np.array([frame.shape[1], frame.shape[0]] * 2, np.float32)
        return np.clip(boxes / np.float32(scale), 0, limits).astype(np.float32), scores

    def run(self, picture: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        try:
            outputs = self.session.run(None, {self.input: picture.astype(self.kind, copy=False)})
            return [np.asarray(out, np.float32) if out.dtype == np.float16 else np.asarray(out) for out in outputs]
        except Exception as error:  # as above
            raise ModelError(f"{self.path}: cannot be run: {EXPECTED}; {error}") from None

    def find_form(self) -> str:
        outputs = self.run(np.full((1, 3, self.height, self.width), PADDING, np.float32))
        shapes = [output.shape for output in outputs]
        if len(shapes) == 2 and len(shapes[0]) == 3 and shapes[0][2] == 5 and shapes[1] == shapes[0][:2]:
            return "nms"
        if len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][2] >= 6:
            for strides in STRIDES:
                self.grid, self.strides = anchors(self.height, self.width, strides)
                if len(self.grid) == shapes[0][1]:
                    # A decoded box lies near its anchor, the farthest of which is in the lower right corner;
                    # an offset is a cell or two.
                    decoded = outputs[0][0, :, :2].max() > 0.5 * max(self.height, self.width)
                    return "decoded" if decoded else "raw"
        raise self.unlike("the outputs " + ", ".join(str(list(shape)) for shape in shapes))

    def unlike(self, got: str) -> ModelError:
        return ModelError(f"{self.path}: not a person detector we can read: {EXPECTED}; got {got}")

    def people(self, outputs: list[NDArray[np.float32]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Boxes (N, 4) x1 y1 x2 y2 in pixels of the model's input, and scores (N,)."""
        if self.form == "nms":
            rows, labels = outputs[0][0], outputs[1][0]
            rows = rows[(labels == PERSON) & (rows[:, 4] >= LEAST_SCORE)]
            return rows[:, :4], rows[:, 4].astype(np.float32)
        rows = outputs[0][0]  # (A, 5 + classes): centre x y, width height, objectness, class scores
        scores = rows[:, 4] * rows[:, 5 + PERSON]
        kept = (rows[:, 5:].argmax(axis=1) == PERSON) & (scores >= LEAST_SCORE)
        centres, sizes, scores = rows[kept, :2], rows[kept, 2:4], scores[kept]
        if self.form == "raw":
            centres = (centres + self.grid[kept]) * self.strides[kept]
            sizes = np.exp(sizes) * self.strides[kept]
        corners = centres - sizes / 2
        best = cv2.dnn.NMSBoxes(np.hstack([corners, sizes]).tolist(), scores.tolist(), LEAST_SCORE, NMS_IOU)
        order = np.array(best, dtype=np.int64).reshape(-1)
        boxes = np.hstack([corners, corners + sizes])[order].astype(np.float32)
        return boxes, scores[order].astype(np.float32)


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


def letterbox(frame: Image, height: int, width: int) -> tuple[NDArray[np.float32], float]:
    """``frame`` scaled into the upper left of (1, 3, height, width) float32 BGR 0-255, and the scale."""
    scale = min(height / frame.shape[0], width / frame.shape[1])
    rows, columns = round(frame.shape[0] * scale), round(frame.shape[1] * scale)
    picture = np.full((height, width, 3), PADDING, np.uint8)
    picture[:rows, :columns] = cv2.resize(frame, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return picture.transpose(2, 0, 1)[None].astype(np.float32), scale


def anchors(height: int, width: int, strides: tuple[int, ...]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Grid cells (A, 2) x y and strides (A, 1) of all anchors, in the order of YOLOX's outputs."""
    cells, steps = [], []
    for stride in strides:
        y, x = np.mgrid[: height // stride, : width // stride]
        cells.append(np.stack([x.ravel(), y.ravel()], axis=1))
        steps.append(np.full((x.size, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(steps).astype(np.float32)
