"""Detectors of people: their interface, and the choice by name."""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import ModelError
from reid_toolkit.images import Image


class Detector(Protocol):
    """Detects people in frames."""

    name: str
    """Its name with a fingerprint of its weights, stored with the tracklets it made."""

    def start(self, frame_rate: float) -> None:
        """Forget earlier frames: a recording with ``frame_rate`` frames per second begins."""

    def __call__(self, frame: Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return boxes (N, 4) float32, x1 y1 x2 y2 in pixels of ``frame``, and scores (N,) float32, 0 to 1."""


def load_detectors(
    count: int, kind: str, weights: Path | None = None, threads: int | None = None, person_label: int | None = None
) -> list[Detector]:
    """A detector for each of ``count`` cameras. See :func:`load_detector`.

    ``"motion"`` learns the background of a camera, so each camera has its own. All others see each frame on its own, so
    the cameras share one, which is in memory once.
    """
    if kind == "motion":
        return [load_detector(kind, weights, threads, person_label) for _ in range(count)]
    return [load_detector(kind, weights, threads, person_label)] * count


def load_detector(
    kind: str, weights: Path | None = None, threads: int | None = None, person_label: int | None = None
) -> Detector:
    """Load a detector: ``"motion"``, ``"torchvision"``, or the path of a file, ONNX or the .xml of OpenVINO.

    ``weights`` is for torchvision only: a state dict to use instead of the one it downloads. ``threads`` is the number
    of threads that run a file; None lets the runtime choose. ``person_label`` is for files that do not say which label
    is a person's (docs/ingest.md).

    Raises:
        ModelError: the name is unknown, or the detector cannot be used.
        MissingDependencyError: the file needs openvino, which is not installed.
    """
    if weights is not None and kind != "torchvision":
        raise ModelError(f"{weights}: detector {kind!r} takes no weights: give them with detector torchvision only")
    if person_label is not None and kind in ("motion", "torchvision"):
        raise ModelError(f"detector {kind!r} needs no person label: give one only with the path of a detector's file")
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
