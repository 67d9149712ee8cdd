"""The tracklets in view of each camera, and whom they show. Two tracklets at one moment never show one person."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.live.recognising import Decision
from reid_toolkit.records import Match

RECENT = 60.0
"""A tracklet that was not seen for so many seconds has ended."""
CLOCK_SECONDS = 1.0
"""If time goes back by more than this, the clock was set, and the tracklets before it are dropped."""
MOST = 1000
"""At most so many tracklets of a camera are kept, the latest."""


@dataclass
class Seen:
    """A tracklet, and what is known about it."""

    tracklet: str
    camera: str
    start: float
    end: float
    frames: int = 0
    matches: Sequence[tuple[str, Match]] = ()
    """The nearest records of the latest search, nearest first, with the digests of their keys."""
    next_frames: int = 0
    """The next search is due at so many crops,"""
    next_time: float = 0.0
    """or at this time, seconds."""
    decision: Decision = field(default_factory=lambda: Decision("undecided"))
    person: int | None = None
    """The person of the latest decision."""
    proposed: int | None = None
    """The number that was set aside for it, if it was new."""
    score: float = 0.0
    """How near the person is: see ``recogniser.Candidate``."""
    challenged: bool = False
    """Whether another tracklet in view is surely nearer to this person."""
    searches: int = 0
    """Searches that succeeded."""
    descriptor: NDArray[np.float32] | None = None
    """The descriptor of the latest search."""
    logged: tuple[int | None] | None = None
    """The person that the audit log names for this tracklet. None if it has no line yet."""
    looks: int = 0
    """How often it was compared with the people of the watch list."""
    cleared: set[str] = field(default_factory=set)
    """Digests of the records that are near enough for an alert."""
    given_up: set[int] = field(default_factory=set)
    """People whom other tracklets in view show, until the next search."""

    def overlaps(self, other: "Seen") -> bool:
        """Whether both were in view at one moment."""
        return self.start <= other.end and other.start <= self.end


class InView:
    """The tracklets of all cameras. Forgets those that nobody in view can have been seen with."""

    def __init__(self) -> None:
        self._cameras: dict[str, dict[str, Seen]] = {}

    def update(self, tracklet: str, camera: str, start: float, end: float, frames: int) -> Seen:
        """Note that a tracklet is in view, and give what is known about it."""
        held = self._cameras.setdefault(camera, {})
        if any(one.end - CLOCK_SECONDS > end for one in held.values()):
            held.clear()
        seen = held.pop(tracklet, None) or Seen(tracklet, camera, start, end)
        seen.end, seen.frames = end, frames
        held[tracklet] = seen  # the latest comes last
        earliest = min(one.start for one in held.values() if one.end >= end - RECENT)
        for name in [name for name, one in held.items() if one.end < earliest]:
            del held[name]
        while len(held) > MOST:
            del held[next(iter(held))]
        return seen

    def with_it(self, seen: Seen) -> list[Seen]:
        """The other tracklets that this camera saw at the same moment."""
        return [one for one in self._cameras[seen.camera].values() if one is not seen and one.overlaps(seen)]
