"""Enroll tracklets that have ended: at once, or as soon as the gallery can be written."""

import time
import warnings
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import UnavailableError
from reid_toolkit.gallery.base import GalleryStore
from reid_toolkit.live.report import Tally
from reid_toolkit.records import Record

RETRY_SECONDS = 30.0
"""Seconds between two attempts while the gallery cannot be written. Each attempt may take as long as the gallery waits
for other writers, and frames are dropped meanwhile."""
MOST_WAITING = 1000
"""At most so many tracklets wait, about 10 MB. If more come, the oldest are lost."""


@dataclass
class Account:
    """What belongs to one camera."""

    tally: Tally = field(default_factory=Tally)
    earlier: dict[str, Record] = field(default_factory=dict)
    """Records of an earlier watch of the same file, by tracklet. A record that is enrolled again is removed here."""


class Waiting(NamedTuple):
    """A tracklet that has ended and is not stored yet."""

    descriptor: NDArray[np.float32]
    """(D,)"""
    record: Record
    account: Account


class Enroller:
    """Enrolls the tracklets of all cameras into a gallery, and keeps them while it is locked, full or unreachable."""

    def __init__(self, gallery: GalleryStore, allow: bool) -> None:
        """``allow``: also enroll tracklets on the gallery's block list, and take them off the list."""
        self.gallery, self.allow = gallery, allow
        self.waiting: deque[Waiting] = deque()
        """The oldest first."""
        self.again: float | None = None
        """When to try again, by ``time.monotonic()``. None while the gallery can be written."""

    def put(self, descriptor: NDArray[np.float32], record: Record, account: Account) -> None:
        """Add a tracklet, which the next :meth:`store` enrolls."""
        self.waiting.append(Waiting(descriptor, record, account))
        if len(self.waiting) > MOST_WAITING:
            self.waiting.popleft().account.tally.lost += 1

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
            while self.waiting:
                self.waiting.popleft().account.tally.lost += 1

    def _enroll(self) -> None:
        """Enroll all waiting tracklets, or none."""
        if not self.waiting:
            return
        blocked, all_records = self.gallery.block_list, [one.record for one in self.waiting]
        out = [False] * len(self.waiting) if self.allow else blocked.has(all_records)
        kept = [one for one, is_out in zip(self.waiting, out, strict=True) if not is_out]
        records = [one.record for one in kept]
        if records:
            self.gallery.add(np.stack([one.descriptor for one in kept]), records)
        if self.allow:
            blocked.allow(records)
        for one, is_out in zip(self.waiting, out, strict=True):
            one.account.tally.blocked += is_out
            one.account.tally.enrolled += not is_out
            if not is_out:
                one.account.earlier.pop(one.record.tracklet, None)
        self.waiting.clear()


def warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=3)
