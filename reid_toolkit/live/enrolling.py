"""Enroll tracklets that have ended: at once, or as soon as the gallery can be written."""

import time
import warnings
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import UnavailableError
from reid_toolkit.gallery.base import GalleryStore
from reid_toolkit.records import Record

RETRY_SECONDS = 30.0
"""Seconds between two attempts while the gallery cannot be written. Each attempt may take as long as the gallery waits
for other writers, and frames are dropped meanwhile."""
MOST_WAITING = 1000
"""At most so many tracklets wait, about 10 MB. If more come, the oldest are lost."""


@dataclass
class Tally:
    """Counts of a watch."""

    frames: int = 0
    """Frames that the detector saw."""
    crops: int = 0
    """Crops that were embedded."""
    tracklets: int = 0
    """Tracklets that ended."""
    enrolled: int = 0
    """Of the ended tracklets, those enrolled. The others had too few crops, are blocked, wait, or are lost."""
    blocked: int = 0
    """Of the ended tracklets, those on the gallery's block list, because `reid gallery forget` has forgotten them."""
    lost: int = 0
    """Of the ended tracklets, those that could not be stored."""
    replaced: int = 0
    """Records of an earlier watch of the same file that were deleted because they did not come again."""
    expired: int = 0
    """Records that were deleted because they are past the gallery's retention."""


class Enroller:
    """Enrolls tracklets into a gallery, and keeps them while it is locked, full or unreachable."""

    def __init__(self, gallery: GalleryStore, tally: Tally, allow: bool) -> None:
        """``allow``: also enroll tracklets on the gallery's block list, and take them off the list."""
        self.gallery, self.tally, self.allow = gallery, tally, allow
        self.waiting: deque[tuple[NDArray[np.float32], Record]] = deque()
        """Descriptors (D,) and records, the oldest first."""
        self.earlier: dict[str, Record] = {}
        """Records of an earlier watch of the same file, by tracklet. A record that is enrolled again is removed
        here."""
        self.again: float | None = None
        """When to try again, by ``time.monotonic()``. None while the gallery can be written."""

    def put(self, descriptor: NDArray[np.float32], record: Record) -> None:
        """Add a tracklet, which the next :meth:`store` enrolls."""
        self.waiting.append((descriptor, record))
        if len(self.waiting) > MOST_WAITING:
            self.waiting.popleft()
            self.tally.lost += 1

    def store(self) -> None:
        """Enroll all waiting tracklets, unless it is too early for another attempt.

        Warns (RuntimeWarning) when the gallery becomes unavailable. Raises the gallery's errors that do not pass by
        themselves.
        """
        if not self.waiting or (self.again is not None and time.monotonic() < self.again):
            return
        try:
            self._enroll()
            self.again = None
        except UnavailableError as error:
            if self.again is None:
                warn(f"{error}; watching continues, and at most {MOST_WAITING} tracklets wait to be enrolled")
            self.again = time.monotonic() + RETRY_SECONDS

    def finish(self) -> None:
        """Try for the last time. Tracklets that cannot be stored now are lost."""
        try:
            self._enroll()
        except UnavailableError as error:
            warn(f"{error}; {len(self.waiting)} waiting tracklets are lost")
            self.tally.lost += len(self.waiting)
            self.waiting.clear()

    def _enroll(self) -> None:
        """Enroll all waiting tracklets, or none."""
        if not self.waiting:
            return
        blocked = self.gallery.block_list
        out = [False] * len(self.waiting) if self.allow else blocked.has([record for _, record in self.waiting])
        rows = [row for (row, _), is_out in zip(self.waiting, out, strict=True) if not is_out]
        records = [record for (_, record), is_out in zip(self.waiting, out, strict=True) if not is_out]
        if records:
            self.gallery.add(np.stack(rows), records)
        if self.allow:
            blocked.allow(records)
        for record in records:
            self.earlier.pop(record.tracklet, None)
        self.tally.enrolled += len(records)
        self.tally.blocked += sum(out)
        self.waiting.clear()


def warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=3)
