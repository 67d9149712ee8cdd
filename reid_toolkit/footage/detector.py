"""Who finds the people: the contract, and the choice by name."""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import ModelError
from reid_toolkit.images import Image


class Detector(Protocol):
    """Finds people in frames."""

    name: str
    """What it is, with a fingerprint of its weights; stored with the tracklets it made."""

    def start(self, frame_rate: float) -> None:
        """Forget what was seen: a recording begins, of ``frame_rate`` frames a second."""

    def __call__(self, frame: Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Boxes (N, 4) float32, x1 y1 x2 y2 in pixels of ``frame``, and their scores (N,) float32, 0-1."""


def load_detector(kind: str, weights: Path | None = None, threads: int | None = None) -> Detector:
    """``"motion"``, ``"torchvision"`` or the path of a YOLOX-family ONNX file.

    ``weights`` is for torchvision only: a state dict to use instead of the one it downloads. ``threads`` are those of
    onnxruntime; None leaves it to them. Raises :class:`ModelError` for anything else.
    """
    if weights is not None and kind != "torchvision":
        raise ModelError(f"{weights}: detector {kind!r} takes no weights: give them with detector torchvision only")
    if kind == "motion":
        from reid_toolkit.footage.motion import MotionDetector

        return MotionDetector()
    if kind == "torchvision":
        from reid_toolkit.footage.torchvision_detector import TorchvisionDetector

        return TorchvisionDetector(weights)
    if Path(kind).is_file():
        from reid_toolkit.footage.detectors.file import FileDetector

        return FileDetector(Path(kind), threads)
    raise ModelError(
        f"{kind}: unknown detector: expected motion, torchvision, or the path of a YOLOX ONNX file, and "
        "there is no such file"
    )
