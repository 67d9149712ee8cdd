"""Boxes of single frames joined into tracks: ByteTrack (Zhang et al. 2022), from the ``trackers`` package."""

import math

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.footage.frame_times import LEAP_SECONDS, leap

BEGIN_SCORE, GOOD_SCORE = 0.6, 0.5
"""A track begins with a box of the first score at least; boxes below the second only continue one."""
LEAST_IOU = 0.3
"""Between a box and where its track is expected: a broken track does less harm than one of two people."""
LOST_SECONDS = LEAP_SECONDS
"""How long somebody may be hidden and keep the track."""
STEADY = 1.25
"""A box that is taller or shorter than its track's usual height by this factor is not given out."""
SMOOTHING = 0.15
"""Weight of a new height in the usual one."""


class Tracker:
    """Follows people through one recording."""

    def __init__(self, frame_rate: float) -> None:
        self.frame_rate = frame_rate
        self.last = math.nan
        """Time of the last frame, seconds."""
        self.before = 0
        """Tracks of before the last gap, whose numbers are not given again."""
        self.given = 0
        """Numbers given so far."""
        self.forget()

    def forget(self) -> None:
        """End all tracks: time has passed unseen."""
        from trackers import ByteTrackTracker

        self.before = self.given
        self.heights: dict[int, float] = {}
        self.tracker = ByteTrackTracker(
            frame_rate=self.frame_rate,
            lost_track_buffer=round(30 * LOST_SECONDS),  # it counts in thirtieths of a second
            track_activation_threshold=BEGIN_SCORE,
            minimum_iou_threshold=LEAST_IOU,
            high_conf_det_threshold=GOOD_SCORE,
            minimum_consecutive_frames=2,
        )

    def update(
        self, boxes: NDArray[np.float32], scores: NDArray[np.float32], time: float
    ) -> list[tuple[int, NDArray[np.float32], float]]:
        """Give the boxes (N, 4) x1 y1 x2 y2 and scores (N,) of the frame at ``time``, seconds.

        Frames may be left out. After a gap in which nobody can be followed (``frame_times.leap``) all tracks are new;
        so they are where time does not go forward, since the clock was set.

        Returns (track number, box (4,), score) of the boxes that show the person of a track, ordered by
        number. Left out are boxes of no track yet, those with a score under ``GOOD_SCORE`` and those whose
        height leaps: somebody half hidden, or two people as one, is good enough to go on from but not to be
        recognised by.
        """
        import supervision

        passed = time - self.last
        if passed <= 0 or passed > leap(self.frame_rate):
            self.forget()
        self.last = time
        found = self.tracker.update(
            supervision.Detections(xyxy=boxes.reshape(-1, 4), confidence=scores), timestamp=time
        )
        # What is kept of a track goes with it, so that a camera can be watched for ever.
        self.heights = {track: self.heights[track] for track in self.heights.keys() & self.alive}
        if found.tracker_id is None or found.confidence is None:
            return []
        given = []
        for number, box, score in zip(found.tracker_id.tolist(), found.xyxy, found.confidence, strict=True):
            if number < 0:
                continue
            track = self.before + number
            self.given = max(self.given, track + 1)
            if self.is_steady(track, float(box[3] - box[1])) and score >= GOOD_SCORE:
                given.append((track, box.astype(np.float32), float(score)))
        return sorted(given, key=lambda member: member[0])

    @property
    def alive(self) -> set[int]:
        """Tracks that may still be given boxes: seen in the last frame, or lost for less than ``LOST_SECONDS``."""
        return {self.before + track.tracker_id for track in self.tracker.tracks if track.tracker_id >= 0}

    def is_steady(self, track: int, height: float) -> bool:
        """Whether a height fits those the track had lately."""
        usual = self.heights.setdefault(track, height)
        self.heights[track] = (1 - SMOOTHING) * usual + SMOOTHING * height
        return usual / STEADY <= height <= usual * STEADY
