"""Those whose tracklet has ended: into the gallery at once, or as soon as it can be written."""

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
"""Between two tries while the gallery cannot be written. Each may take as long as the gallery waits for others, and
frames are dropped meanwhile."""
MOST_WAITING = 1000
"""Tracklets that are kept until then, some 10 MB; beyond it the first are lost."""


@dataclass
class Tally:
    """What came of the frames."""

    frames: int = 0
    """Seen by the detector."""
    crops: int = 0
    """Embedded."""
    tracklets: int = 0
    """That ended."""
    enrolled: int = 0
    """Of these; the others had too few crops, were forgotten, wait, or are lost."""
    blocked: int = 0
    """Of these, on the gallery's block list: `reid gallery forget` has forgotten them."""
    lost: int = 0
    """Of these, could not be stored."""
    replaced: int = 0
    """Records of an earlier watch of the same file that did not come again, and were deleted."""
    expired: int = 0
    """Records of the gallery that were past its retention, and deleted."""


class Enroller:
    """Puts tracklets into a gallery, and keeps them while it is locked, full or away."""

    def __init__(self, gallery: GalleryStore, tally: Tally, allow: bool) -> None:
        """``allow``: enroll also what is on the gallery's block list, and take it off."""
        self.gallery, self.tally, self.allow = gallery, tally, allow
        self.waiting: deque[tuple[NDArray[np.float32], Record]] = deque()
        """Descriptors (D,) and records, first come first."""
        self.earlier: dict[str, Record] = {}
        """Of an earlier watch of the same file, by tracklet; those that come again leave it."""
        self.again: float | None = None
        """When to try again, by ``time.monotonic()``; None while all is well."""

    def put(self, descriptor: NDArray[np.float32], record: Record) -> None:
        """Have it stored by the next :meth:`store`."""
        self.waiting.append((descriptor, record))
        if len(self.waiting) > MOST_WAITING:
            self.waiting.popleft()
            self.tally.lost += 1

    def store(self) -> None:
        """Enroll all who wait, unless the gallery is left alone for a while. Warns when that begins (RuntimeWarning).

        Raises what the gallery raises that will not pass by itself.
        """
        if not self.waiting or (self.again is not None and time.monotonic() < self.again):
            return
        try:
            self._enroll()
            self.again = None
        except UnavailableError as error:
            if self.again is None:
                warn(f"{error}; watching goes on, tracklets wait to be enrolled, at most {MOST_WAITING}")
            self.again = time.monotonic() + RETRY_SECONDS

    def finish(self) -> None:
        """The last try; who cannot be stored now is lost."""
        try:
            self._enroll()
        except UnavailableError as error:
            warn(f"{error}; {len(self.waiting)} tracklets that waited are lost")
            self.tally.lost += len(self.waiting)
            self.waiting.clear()

    def _enroll(self) -> None:
        """All or none of those who wait."""
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
