"""Detects people as moving regions in front of a fixed camera, by background subtraction. It needs no weights."""

import cv2
import numpy as np
from numpy.typing import NDArray

from reid_toolkit.images import Image

WORKING_HEIGHT = 576
"""Taller frames are shrunk to this height: the cost grows with the pixels, and outlines gain nothing above it."""
HISTORY_SECONDS = 30.0
"""Memory of the background model. A person who stands still for a tenth of it becomes background."""
WARM_UP_SECONDS = 1.0
"""Nothing is detected in this time, because the model has seen too little."""
LARGEST_FOREGROUND = 0.5
"""If more of the frame than this moves at once, the light or the camera changed; it is not people."""

SMALLEST_HEIGHT, LARGEST_HEIGHT = 0.07, 0.9
"""Heights of a person, as fractions of the frame's height."""
NARROWEST, WIDEST = 0.24, 0.75
"""Width of a person divided by height; a side view in mid-stride reaches 0.7."""


class MotionDetector:
    """Detects moving, person-sized outlines in the recording of a fixed camera. See :class:`Detector`.

    It uses mixture-of-Gaussians background subtraction (Zivkovic 2004, OpenCV's MOG2) without shadows, then morphology
    and connected components. It joins parts that lie one above the other, such as a head and a coat separated by a
    scarf of the wall's colour. People who walk side by side are detected as one box, or not at all if the box is wide.
    """

    name = "motion"

    def __init__(self) -> None:
        self.start(25.0)

    def start(self, frame_rate: float) -> None:
        history = max(2, round(HISTORY_SECONDS * frame_rate))
        self.model = cv2.createBackgroundSubtractorMOG2(history=history, varThreshold=20, detectShadows=True)
        self.learning_rate = 1 / history
        self.warm_up = round(WARM_UP_SECONDS * frame_rate)

    def __call__(self, frame: Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        scale = min(1.0, WORKING_HEIGHT / frame.shape[0])
        if scale < 1:
            shrunk = (max(1, round(frame.shape[1] * scale)), round(frame.shape[0] * scale))
            frame = np.asarray(cv2.resize(frame, shrunk, interpolation=cv2.INTER_AREA), np.uint8)
        smooth = cv2.GaussianBlur(frame, (3, 3), 0)
        if self.warm_up > 0:
            self.warm_up -= 1
            self.model.apply(smooth)
            return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        # By default MOG2 learns faster while it has seen little, and slow walkers would become background at first.
        mask = np.asarray(self.model.apply(smooth, learningRate=self.learning_rate), np.uint8)
        mask = clean_mask(mask)
        if np.count_nonzero(mask) > LARGEST_FOREGROUND * mask.size:
            mask[:] = 0
        boxes = join_stacked(components(mask), mask.shape[0])
        boxes, scores = keep_person_like(boxes, mask)
        return (boxes / np.float32(scale)).astype(np.float32), scores


def clean_mask(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Keep the foreground (255) without shadows (127) and specks, and close small gaps, vertical ones more."""
    clean = cv2.medianBlur(np.where(mask == 255, np.uint8(255), np.uint8(0)), 5)
    unit = max(1, round(mask.shape[0] / 192))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * unit + 1, 4 * unit + 1))
    return np.asarray(cv2.morphologyEx(clean, cv2.MORPH_CLOSE, kernel), np.uint8)


def components(mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return boxes (N, 4) x1 y1 x2 y2 of the connected regions that are large enough to be part of a person."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
    x, y, width, height, area = stats[1:].T
    smallest = (SMALLEST_HEIGHT * mask.shape[0]) ** 2 * 0.05
    boxes = np.stack([x, y, x + width, y + height], axis=1)
    return boxes[area >= smallest].astype(np.float32)


def join_stacked(boxes: NDArray[np.float32], frame_height: int) -> NDArray[np.float32]:
    """Join boxes that lie one above the other with a small gap, if the whole still has a person's shape.

    Pairs are joined in the order of the boxes. The whole takes the place of the first and may be joined again.
    """
    found, left = boxes.astype(np.float64), np.ones(len(boxes), bool)
    pairs = np.triu(belong(found[:, None], found[None], frame_height), 1)
    while pairs.any():
        a, b = divmod(int(pairs.argmax()), len(found))
        found[a] = union(found[a], found[b])
        left[b] = pairs[b] = pairs[:, b] = False
        new = belong(found[a], found, frame_height) & left
        pairs[a, a + 1 :], pairs[:a, a] = new[a + 1 :], new[:a]
    return found[left].astype(np.float32)


def belong(a: NDArray[np.float64], b: NDArray[np.float64], frame_height: int) -> NDArray[np.bool_]:
    """Whether boxes (..., 4) of ``a`` and of ``b`` look like the upper and the lower part of one person."""
    width, height = extent(union(a, b))
    (a_width, a_height), (b_width, b_height) = extent(a), extent(b)
    overlap = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    gap = np.maximum(a[..., 1], b[..., 1]) - np.minimum(a[..., 3], b[..., 3])
    # Two upright shapes are two people, one behind the other; a part of a person is not upright by itself.
    upright = (a_width < 0.55 * a_height) & (b_width < 0.55 * b_height)
    stacked = (overlap >= 0.5 * np.minimum(a_width, b_width)) & (gap <= 0.2 * height)
    person = (width <= 0.6 * height) & (0.6 * height <= 0.3 * frame_height)
    return np.asarray(stacked & ~upright & person)


def union(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([np.minimum(a[..., :2], b[..., :2]), np.maximum(a[..., 2:], b[..., 2:])], axis=-1)


def extent(boxes: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]


def keep_person_like(
    boxes: NDArray[np.float32], mask: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Keep boxes of a person's size and shape, and score each 0.3 to 0.95 by how near it is to the usual shape.

    The score guides the tracker, which begins a tracklet only with good boxes but continues it with poor ones. So a box
    at the frame's edge, where a person is half in view, gets a low score.
    """
    frame_height, frame_width = mask.shape
    kept, scores = [], []
    for box in boxes:
        x1, y1, x2, y2 = box.astype(int)
        width, height = x2 - x1, y2 - y1
        shape = width / height
        if not (SMALLEST_HEIGHT <= height / frame_height <= LARGEST_HEIGHT and NARROWEST <= shape <= WIDEST):
            continue
        filled = np.count_nonzero(mask[y1:y2, x1:x2]) / (width * height)
        usual = 1 - max(0.0, abs(shape - 0.4) - 0.15) / 0.2
        score = 0.95 * min(1.0, usual) * min(1.0, filled / 0.4)
        at_edge = x1 <= 1 or y1 <= 1 or x2 >= frame_width - 1 or y2 >= frame_height - 1
        scores.append(max(0.3, min(score, 0.45) if at_edge else score))
        kept.append(box)
    return np.array(kept, np.float32).reshape(-1, 4), np.array(scores, np.float32)
