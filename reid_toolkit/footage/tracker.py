"""Joins boxes of single frames into tracks: ByteTrack (Zhang et al. 2022), from the ``trackers`` package."""

import math

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.footage.frame_times import leap

BEGIN_SCORE, GOOD_SCORE = 0.6, 0.5
"""A track begins with a box of at least the first score. Boxes below the second score only continue a track."""
LEAST_IOU = 0.3
"""Least IoU between a box and its track's predicted box. A broken track does less harm than a track of two people."""
STEADY = 1.25
"""A box is left out if it is taller or shorter than its track's usual height by more than this factor."""
SMOOTHING = 0.15
"""Weight of a new height in the running mean."""


class Tracker:
    """Follows people through one recording."""

    def __init__(self, frame_rate: float) -> None:
        self.frame_rate = frame_rate
        self.last = math.nan
        """Time of the last frame, seconds."""
        self.before = 0
        """Track numbers below this were used before the last gap and are not used again."""
        self.given = 0
        """Track numbers used so far."""
        self.forget()

    def forget(self) -> None:
        """End all tracks, because nobody can be followed across a gap."""
        from trackers import ByteTrackTracker

        self.before = self.given
        self.heights: dict[int, float] = {}
        self.tracker = ByteTrackTracker(
            frame_rate=self.frame_rate,
            # How long a person may be hidden, in thirtieths of a second. It must be longer than a frame.
            lost_track_buffer=round(30 * leap(self.frame_rate)),
            track_activation_threshold=BEGIN_SCORE,
            minimum_iou_threshold=LEAST_IOU,
            high_conf_det_threshold=GOOD_SCORE,
            minimum_consecutive_frames=2,
        )

    def update(
        self, boxes: NDArray[np.float32], scores: NDArray[np.float32], time: float
    ) -> list[tuple[int, NDArray[np.float32], float]]:
        """Take the boxes (N, 4) x1 y1 x2 y2 and scores (N,) of the frame at ``time``, in seconds.

        Frames may be left out. All tracks end after a gap in which nobody can be followed (``frame_times.leap``), and
        if time does not increase, because then the clock was set.

        Returns (track number, box (4,), score) of the boxes that show the person of a track, ordered by number. It
        leaves out boxes without a track, boxes with a score under ``GOOD_SCORE``, and boxes whose height changes
        suddenly. Such a box may show a person half hidden, or two people as one: it continues the track but is not good
        enough to recognise somebody by.
        """
        import supervision

        passed = time - self.last
        if passed <= 0 or passed > leap(self.frame_rate):
            self.forget()
        self.last = time
        tracked = self.tracker.update(
            supervision.Detections(xyxy=boxes.reshape(-1, 4), confidence=scores), timestamp=time
        )
        # Heights of ended tracks are dropped, so that memory stays bounded however long a camera is watched.
        self.heights = {track: self.heights[track] for track in self.heights.keys() & self.alive}
        if tracked.tracker_id is None or tracked.confidence is None:
            return []
        given = []
        for number, box, score in zip(tracked.tracker_id.tolist(), tracked.xyxy, tracked.confidence, strict=True):
            if number < 0:
                continue
            track = self.before + number
            self.given = max(self.given, track + 1)
            if self.is_steady(track, float(box[3] - box[1])) and score >= GOOD_SCORE:
                given.append((track, box.astype(np.float32), float(score)))
        return sorted(given, key=lambda member: member[0])

    @property
    def alive(self) -> set[int]:
        """Tracks that can still get boxes: seen in the last frame, or lost for no longer than ``frame_times.leap``."""
        return {self.before + track.tracker_id for track in self.tracker.tracks if track.tracker_id >= 0}

    def is_steady(self, track: int, height: float) -> bool:
        """Whether a height fits the recent heights of the track."""
        usual = self.heights.setdefault(track, height)
        self.heights[track] = (1 - SMOOTHING) * usual + SMOOTHING * height
        return usual / STEADY <= height <= usual * STEADY
