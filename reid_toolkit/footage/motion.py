"""People as what moves before a fixed camera: background subtraction, no weights."""

from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

from reid_toolkit.images import Image

WORKING_HEIGHT = 576
"""Taller frames are shrunk to it: the cost goes with the pixels, and outlines do not get better above it."""
HISTORY_SECONDS = 30.0
"""Of the background model. Somebody who stands still for a tenth of it becomes background."""
WARM_UP_SECONDS = 1.0
"""Until then the model has seen too little to tell anything apart."""
LARGEST_FOREGROUND = 0.5
"""More of the frame than this moving at once is the light or the camera, not people."""

SMALLEST_HEIGHT, LARGEST_HEIGHT = 0.07, 0.9
"""Of a person, as fractions of the frame's height."""
NARROWEST, WIDEST = 0.24, 0.75
"""Width of a person divided by height; a side view in mid-stride reaches 0.7."""


class MotionDetector:
    """Finds the moving, person-sized outlines of a fixed camera's recording. See :class:`Detector`.

    Mixture-of-Gaussians background subtraction (Zivkovic 2004, OpenCV's MOG2) without its shadows, then
    morphology, connected components, and the joining of parts that lie one above another (a head and a coat
    whose scarf has the colour of the wall). People who walk side by side come out as one box, or none when
    it is wide.
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
            shrunk = (round(frame.shape[1] * scale), round(frame.shape[0] * scale))
            frame = np.asarray(cv2.resize(frame, shrunk, interpolation=cv2.INTER_AREA), np.uint8)
        smooth = cv2.GaussianBlur(frame, (3, 3), 0)
        if self.warm_up > 0:
            self.warm_up -= 1
            self.model.apply(smooth)
            return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        # Left to itself MOG2 learns faster the less it has seen: slow walkers would be background at first.
        mask = np.asarray(self.model.apply(smooth, learningRate=self.learning_rate), np.uint8)
        mask = clean_mask(mask)
        if np.count_nonzero(mask) > LARGEST_FOREGROUND * mask.size:
            mask[:] = 0
        boxes = join_stacked(components(mask), mask.shape[0])
        boxes, scores = keep_person_like(boxes, mask)
        return (boxes / np.float32(scale)).astype(np.float32), scores


def clean_mask(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Foreground (255) without shadows (127) and specks, with small gaps closed, more so up and down."""
    clean = cv2.medianBlur(np.where(mask == 255, np.uint8(255), np.uint8(0)), 5)
    unit = max(1, round(mask.shape[0] / 192))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * unit + 1, 4 * unit + 1))
    return np.asarray(cv2.morphologyEx(clean, cv2.MORPH_CLOSE, kernel), np.uint8)


def components(mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Boxes (N, 4) x1 y1 x2 y2 of the connected parts that are large enough to be a part of a person."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
    x, y, width, height, area = stats[1:].T
    smallest = (SMALLEST_HEIGHT * mask.shape[0]) ** 2 * 0.05
    boxes = np.stack([x, y, x + width, y + height], axis=1)
    return boxes[area >= smallest].astype(np.float32)


def join_stacked(boxes: NDArray[np.float32], frame_height: int) -> NDArray[np.float32]:
    """Join boxes that lie one above another with a small gap, as long as the whole stays person-shaped."""
    pending = list(boxes)
    while True:
        pairs = combinations(range(len(pending)), 2)
        pair = next(((a, b) for a, b in pairs if belong(pending[a], pending[b], frame_height)), None)
        if pair is None:
            return np.array(pending, np.float32).reshape(-1, 4)
        a, b = pair
        pending[a] = union(pending[a], pending[b])
        del pending[b]


def belong(a: NDArray[np.float32], b: NDArray[np.float32], frame_height: int) -> bool:
    """Whether two boxes look like the upper and the lower part of one person."""
    width, height = extent(union(a, b))
    narrower = min(extent(a)[0], extent(b)[0])
    overlap = min(a[2], b[2]) - max(a[0], b[0])
    gap = max(a[1], b[1]) - min(a[3], b[3])
    # Two upright shapes are two people, one behind the other; a part of a person is not upright by itself.
    upright = all(part[0] < 0.55 * part[1] for part in (extent(a), extent(b)))
    stacked = overlap >= 0.5 * narrower and gap <= 0.2 * height
    return stacked and not upright and width <= 0.6 * height <= 0.3 * frame_height


def union(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([np.minimum(a[:2], b[:2]), np.maximum(a[2:], b[2:])])


def extent(box: NDArray[np.float32]) -> tuple[float, float]:
    return float(box[2] - box[0]), float(box[3] - box[1])


def keep_person_like(
    boxes: NDArray[np.float32], mask: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Boxes of a person's size and shape with a score 0.3-0.95 for how near to the usual shape they are.

    The score is for the tracker, which begins a tracklet only with good boxes but goes on with poor ones. So
    a box at the edge of the frame, where somebody is half in view, scores low.
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
