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


def load_detector(
    kind: str, weights: Path | None = None, threads: int | None = None, person_label: int | None = None
) -> Detector:
    """``"motion"``, ``"torchvision"`` or the path of a detector's file: ONNX, or the .xml of OpenVINO.

    ``weights`` is for torchvision only: a state dict to use instead of the one it downloads. ``threads`` are those of
    what runs the file; None leaves it to that. ``person_label`` is for files only, and says which of their labels is a
    person's where they do not (docs/ingest.md).

    Raises:
        ModelError: it is anything else, or cannot be used.
        MissingDependencyError: it needs openvino, which is not installed.
    """
    if weights is not None and kind != "torchvision":
        raise ModelError(f"{weights}: detector {kind!r} takes no weights: give them with detector torchvision only")
    if person_label is not None and kind in ("motion", "torchvision"):
        raise ModelError(f"detector {kind!r} knows its people: give a person label with the path of a file only")
    if kind == "motion":
        from reid_toolkit.footage.motion import MotionDetector

        return MotionDetector()
    if kind == "torchvision":
        from reid_toolkit.footage.torchvision_detector import TorchvisionDetector

        return TorchvisionDetector(weights)
    if Path(kind).is_file():
        from reid_toolkit.footage.detectors.file import FileDetector

        return FileDetector(Path(kind), threads, person_label)
    raise ModelError(
        f"{kind}: unknown detector: expected motion, torchvision, or the path of a detector's file (ONNX, or "
        "the .xml of OpenVINO), and there is no such file"
    )
