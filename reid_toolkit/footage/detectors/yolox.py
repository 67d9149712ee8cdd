"""The YOLOX family (Ge et al. 2021), in each form in which such models are exported."""

import numpy as np

from reid_toolkit.footage.detectors.forms import Floats, Form, labelled, shapes, strong, suppress
from reid_toolkit.footage.detectors.running import Arrays

EXPECTED = "YOLOX's rows (1, anchors, 5 + classes); boxes (1, N, 5) with labels (1, N)"
STRIDES = ((8, 16, 32), (8, 16, 32, 64))
"""Strides of the usual models and of the P6 models."""


def find(outputs: Arrays, height: int, width: int) -> Form | None:
    """Return the form of these outputs for a grey picture of ``height`` x ``width``, if it is one of YOLOX."""
    sizes = shapes(outputs)
    if len(sizes) == 2 and len(sizes[0]) == 3 and sizes[0][2] == 5 and sizes[1] == sizes[0][:2]:
        return Suppressed()
    if len(sizes) == 1 and len(sizes[0]) == 3 and sizes[0][2] >= 6:
        (rows,) = outputs.values()
        for strides in STRIDES:
            grid, steps = anchors(height, width, strides)
            if len(grid) == sizes[0][1]:
                # Both kinds of rows have the same shape. A decoded box lies near its anchor, and the farthest anchor is
                # in the lower right corner; an offset is only a cell or two.
                decoded = rows[0, :, :2].max() > 0.5 * max(height, width)
                return Rows(sizes[0][2] - 5, None if decoded else grid, steps)
    return None


class Yolox:
    """The base of both forms."""

    family, letterboxed, rgb = "yolox", True, False
    person: int | None = 0
    """The label in COCO."""
    labels: int | None = None


class Suppressed(Yolox):
    """Boxes after suppression, with their labels (OpenMMLab's export)."""

    def people(self, outputs: Arrays, person: int | None) -> tuple[Floats, Floats]:
        (rows,), (labels,) = outputs.values()
        rows = rows[labelled(labels, person) & strong(rows[:, 4])]
        return rows[:, :4], rows[:, 4].astype(np.float32)


class Rows(Yolox):
    """One row per anchor: in pixels; or, with ``grid``, offsets in grid cells and log sizes (Megvii's exports)."""

    def __init__(self, labels: int, grid: Floats | None, strides: Floats) -> None:
        self.labels, self.grid, self.strides = labels, grid, strides

    def people(self, outputs: Arrays, person: int | None) -> tuple[Floats, Floats]:
        ((rows,),) = outputs.values()  # (A, 5 + classes): centre x y, width height, objectness, class scores
        best = rows[:, 5:].argmax(axis=1)
        scores = rows[:, 4] * rows[np.arange(len(rows)), 5 + best]
        kept = labelled(best, person) & strong(scores)
        centres, sizes, scores = rows[kept, :2], rows[kept, 2:4], scores[kept]
        if self.grid is not None:
            centres = (centres + self.grid[kept]) * self.strides[kept]
            sizes = np.exp(sizes) * self.strides[kept]
        corners = centres - sizes / 2
        order = suppress(corners, sizes, scores)
        boxes = np.hstack([corners, corners + sizes])[order].astype(np.float32)
        return boxes, scores[order].astype(np.float32)


def anchors(height: int, width: int, strides: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Return grid cells (A, 2) x y and strides (A, 1) of all anchors, in the order of YOLOX's outputs."""
    cells, steps = [], []
    for stride in strides:
        y, x = np.mgrid[: height // stride, : width // stride]
        cells.append(np.stack([x.ravel(), y.ravel()], axis=1))
        steps.append(np.full((x.size, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(steps).astype(np.float32)
