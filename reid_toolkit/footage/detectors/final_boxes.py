"""Detectors that give suppressed boxes for a stretched frame: SSD (Liu et al. 2016), and boxes with labels (Intel)."""

import numpy as np

from reid_toolkit.footage.detectors.forms import Floats, Form, in_pixels, labelled, shapes, strong
from reid_toolkit.footage.detectors.running import Arrays

EXPECTED = "an SSD's rows (1, 1, N, 7); boxes (N, 5) with labels (N)"


def find(outputs: Arrays, height: int, width: int) -> Form | None:
    """Return the form of these outputs if it is one of this module."""
    sizes = shapes(outputs)
    if len(sizes) == 1 and len(sizes[0]) == 4 and sizes[0][:2] == (1, 1) and sizes[0][3] == 7:
        return Ssd(height, width)
    if len(sizes) == 2:
        labels, boxes = sorted(outputs, key=lambda name: outputs[name].ndim)
        rows = outputs[boxes].shape
        if len(rows) == 2 and rows[1] == 5 and outputs[labels].shape == rows[:1]:
            return BoxesAndLabels(boxes, labels)
    return None


class Stretched:
    """The base of both forms: they take raw pixels, and only the file's description says what their labels mean."""

    letterboxed, rgb = False, False
    person: int | None = None
    labels: int | None = None


class Ssd(Stretched):
    """Rows (1, 1, N, 7): image, label, score, x1 y1 x2 y2 in fractions of the frame. A negative image number ends
    them."""

    family = "ssd"

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width

    def people(self, outputs: Arrays, person: int | None) -> tuple[Floats, Floats]:
        (((rows,),),) = outputs.values()
        ends = np.flatnonzero(rows[:, 0] < 0)
        rows = rows[: ends[0]] if len(ends) else rows
        rows = rows[labelled(rows[:, 1], person) & strong(rows[:, 2])]
        return in_pixels(rows[:, 3:], self.height, self.width), rows[:, 2].astype(np.float32)


class BoxesAndLabels(Stretched):
    """Boxes (N, 5) x1 y1 x2 y2 score in pixels of the input, and labels (N,). It is given the outputs' names."""

    family = "boxes"

    def __init__(self, boxes: str, labels: str) -> None:
        self.names = boxes, labels

    def people(self, outputs: Arrays, person: int | None) -> tuple[Floats, Floats]:
        rows, labels = (outputs[name] for name in self.names)
        rows = rows[labelled(labels, person) & strong(rows[:, 4])]
        return rows[:, :4].astype(np.float32), rows[:, 4].astype(np.float32)
