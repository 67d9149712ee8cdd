"""Forms of detector outputs: the interface of a form, and the functions that forms share."""

from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import ModelError
from reid_toolkit.footage.detectors.running import Arrays, Classes

Floats = NDArray[np.float32]

LEAST_SCORE = 0.1
"""Boxes with a lower score do not help the tracker (ByteTrack's own threshold)."""
NMS_IOU = 0.65
"""The threshold of YOLOX's own evaluation. It is high, because people overlap."""
PERSON_NAMES = ("person", "pedestrian", "people")
PERSON_AMONG = {20: 14, 80: 0, 90: 0}
"""The position of "person" among the classes of Pascal VOC (20) and COCO (80 and 90), by the number of classes."""
MOST_FRACTION = 8
"""If a box reaches further than this many frame sizes, its values are not fractions of the frame."""


class Form(Protocol):
    """How a kind of model is fed and how its outputs are read."""

    family: str
    """A part of the detector's name."""
    letterboxed: bool
    """Whether the frame keeps its aspect ratio in the input; otherwise it is stretched."""
    rgb: bool
    """Whether pixels are RGB from 0 to 1; otherwise they are BGR from 0 to 255."""
    person: int | None
    """The label of a person if neither the user, the file nor the number of labels says it; None if the user must."""
    labels: int | None
    """How many labels there can be, counted from 0; None if the outputs do not show it. A form without labels has 1."""

    def people(self, outputs: Arrays, person: int | None) -> tuple[Floats, Floats]:
        """Return boxes (N, 4) x1 y1 x2 y2 in pixels of the model's input, and scores (N,): those with at least
        LEAST_SCORE and the label ``person``, or any label if ``person`` is None.

        Raises ModelError, without the file's name, for impossible outputs.
        """


def shapes(outputs: Arrays) -> list[tuple[int, ...]]:
    return [output.shape for output in outputs.values()]


def in_full(outputs: Arrays) -> Arrays:
    """Convert half precision to float32, so that later calculations lose nothing."""
    return {name: value.astype(np.float32) if value.dtype == np.float16 else value for name, value in outputs.items()}


def strong(scores: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Mark scores of at least LEAST_SCORE. Raises ModelError if the values cannot be scores."""
    if np.isnan(scores).any():
        raise ModelError("gives scores that are not numbers: the file is damaged, or it overflows in its precision")
    if scores.size and scores.max() > 1.001:
        raise ModelError(f"gives scores of up to {scores.max():.4g}: expected 0 to 1")
    return np.asarray(scores >= LEAST_SCORE)


def labelled(labels: NDArray[np.generic], person: int | None) -> NDArray[np.bool_]:
    """Mark labels that are a person's. Labels are whole numbers of any type."""
    return np.ones(labels.shape, bool) if person is None else np.asarray(labels == person)


def in_pixels(boxes: NDArray[np.floating], height: int, width: int) -> Floats:
    """Convert boxes from fractions of the input to pixels. Raises ModelError if they are not fractions."""
    if boxes.size and np.abs(boxes).max() > MOST_FRACTION:
        raise ModelError(f"gives boxes of up to {np.abs(boxes).max():.4g}: expected fractions of the picture")
    return np.asarray(boxes * np.array([width, height] * 2, np.float32), np.float32)


def suppress(
    corners: NDArray[np.floating], sizes: NDArray[np.floating], scores: NDArray[np.floating]
) -> NDArray[np.int64]:
    """Return which boxes are left after non-maximum suppression, strongest first.

    ``corners`` (N, 2) are the upper left x y, ``sizes`` (N, 2) widths and heights, ``scores`` (N,).
    """
    left = cv2.dnn.NMSBoxes(np.hstack([corners, sizes]).tolist(), scores.tolist(), LEAST_SCORE, NMS_IOU)
    return np.array(left, dtype=np.int64).reshape(-1)


def label_of_person(asked: int | None, classes: Classes, form: Form) -> int | None:
    """Return the label of people in a file; None if everything it detects is a person.

    ``asked`` is the label that the user gave. Raises ModelError, without the file's name, if the label is unknown.
    """
    first, total = (classes.first, classes.total) if classes.total is not None else (0, form.labels)
    there = f"has the labels {first} to {first + total - 1}" if total is not None else ""
    if asked is not None:
        if total is not None and not first <= asked < first + total:
            raise ModelError(f"--person-label {asked}: the file {there}")
        return asked
    if classes.names:
        named = [place for place, name in enumerate(classes.names) if name.lower() in PERSON_NAMES]
        if len(named) != 1 or (total is not None and named[0] >= total):
            shown = ", ".join(classes.names[:10])
            raise ModelError(f"names its classes {shown}: expected one of them to be person: or give --person-label")
        return named[0]
    if total == 1:
        return None
    if total in PERSON_AMONG:
        return first + PERSON_AMONG[total]
    if form.person is None:
        what = there or "does not say what its labels mean"
        raise ModelError(f"{what}: give the label of a person, from the model's description: --person-label N")
    return form.person
