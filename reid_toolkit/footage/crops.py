"""Cuts the crops of people out of frames and stores them."""

import shutil
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.images import Image, write_crop
from reid_toolkit.records import Crop

Box = NDArray[np.float32]
"""(4,) x1 y1 x2 y2 in pixels of the frame."""

SMALLEST_WIDTH, SMALLEST_HEIGHT = 12, 24
"""Pixels. Smaller boxes show nobody who can be recognised."""
LEAST_INSIDE = 0.5
"""Fraction of a box's area that must lie inside the frame."""


def cut(frame: Image, box: Box, margin: float) -> Image | None:
    """Cut ``box`` (x1 y1 x2 y2, pixels) out of ``frame``, widened on each side by ``margin`` times its size.

    The result is clipped to the frame. Returns None if the box is tiny or mostly outside the frame.
    """
    height, width = frame.shape[:2]
    if not shows_enough(box, width, height):
        return None
    x1, y1, x2, y2 = (float(value) for value in box)
    box_width, box_height = x2 - x1, y2 - y1
    left, right = round(x1 - margin * box_width), round(x2 + margin * box_width)
    top, bottom = round(y1 - margin * box_height), round(y2 + margin * box_height)
    return frame[max(0, top) : bottom, max(0, left) : right]


def shows_enough(box: Box, width: int, height: int) -> bool:
    """Whether ``box`` is large enough, and at least half of it lies inside a frame of ``width`` x ``height`` pixels."""
    x1, y1, x2, y2 = (float(value) for value in box)
    if x2 - x1 < SMALLEST_WIDTH or y2 - y1 < SMALLEST_HEIGHT:
        return False
    inside = max(0.0, min(x2, width) - max(x1, 0.0)) * max(0.0, min(y2, height) - max(y1, 0.0))
    return inside >= LEAST_INSIDE * (x2 - x1) * (y2 - y1)


class TrackletWriter:
    """Stores the crops of one recording's tracklets as they arrive, and keeps a manifest row for each."""

    def __init__(self, folder: Path, name: str, camera: str, every: int, margin: float) -> None:
        self.folder, self.name, self.camera, self.every, self.margin = folder, name, camera, every, margin
        self.seen: Counter[int] = Counter()
        self.tracks: defaultdict[int, list[Crop]] = defaultdict(list)

    def add(self, track: int, image: Image, frame: int, time: float, box: Box, score: float) -> None:
        """Store the crop of ``box``, if it is one of every K-th that are kept."""
        self.seen[track] += 1
        if (self.seen[track] - 1) % self.every:
            return
        crop = cut(image, box, self.margin)
        if crop is None:
            return
        path = self.folder / f"{track:05d}" / f"{frame:07d}.jpg"
        write_crop(path, crop)
        x, y, right, bottom = (float(value) for value in box)
        tracklet = f"{self.name}-{track:05d}"
        box_of = x, y, right - x, bottom - y
        self.tracks[track].append(Crop(path, self.camera, tracklet, frame, time, *box_of, score, recording=self.name))

    def drop_short(self, min_crops: int) -> int:
        """Remove tracklets with fewer than ``min_crops`` crops. Returns how many were removed."""
        short = [track for track, crops in self.tracks.items() if len(crops) < min_crops]
        for track in short:
            del self.tracks[track]
            shutil.rmtree(self.folder / f"{track:05d}")
        return len(short)

    @property
    def crops(self) -> list[Crop]:
        return [crop for track in sorted(self.tracks) for crop in self.tracks[track]]
