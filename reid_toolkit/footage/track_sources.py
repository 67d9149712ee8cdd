"""Where the tracked boxes of a recording come from: a detector and the tracker, or a file of another program."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from reid_toolkit.errors import InputError, VideoError
from reid_toolkit.exchange.reading import read_tracks
from reid_toolkit.exchange.tracks import Tracks
from reid_toolkit.footage.crops import Box, shows_enough
from reid_toolkit.footage.detector import Detector
from reid_toolkit.footage.frames import Frame, Recording
from reid_toolkit.footage.tracker import Tracker

Follower = Callable[[Frame], list[tuple[int, Box, float]]]
"""Gives the people in each frame: track number, box and score. Frames come in order."""
MOSTLY_WRONG = 0.5
"""A file of tracks is refused if more than this fraction of its boxes does not fit the recording."""


class TrackSource(Protocol):
    """Says where each person is in the frames of a recording."""

    name: str
    """Stored with the tracklets: what made them, with a fingerprint of it."""
    advice: str
    """What to look at if no tracklet comes out."""

    def start(self, recording: Recording) -> None:
        """Forget earlier frames: this recording begins."""

    def follow(self) -> Follower:
        """Begin a part of the recording, such as ten minutes of a stream. No track goes on from the part before."""

    def doubts(self) -> list[str]:
        """Warnings about the part that was read. Raises :class:`VideoError` if the boxes are of another recording."""


class DetectedTracks:
    """The boxes of a detector, joined by the tracker."""

    def __init__(self, detector: Detector) -> None:
        self.detector, self.name = detector, detector.name
        self.advice = f"is {self.name} the right detector? motion needs a fixed camera and people who walk"
        self.frame_rate = 0.0

    def start(self, recording: Recording) -> None:
        """Forget earlier frames."""
        self.frame_rate = recording.frame_rate
        self.detector.start(recording.frame_rate)

    def follow(self) -> Follower:
        """Begin a part of the recording with a new tracker."""
        tracker = Tracker(self.frame_rate)
        return lambda frame: tracker.update(*self.detector(frame.image), frame.time)

    def doubts(self) -> list[str]:
        """Nothing: the whole camera is judged afterwards."""
        return []


class GivenTracks:
    """The boxes and tracks of a file that another program or a person made for one recording."""

    advice = "--every 1 stores all boxes, and --min-crops 1 keeps short tracks"

    def __init__(self, path: Path, form: str | None, recording: Recording | None) -> None:
        """Read the file. ``form`` is its format, one of ``exchange.reading.FORMATS``; None recognises it.

        Raises :class:`InputError` if it cannot be read, or holds boxes or tracks that cannot be.
        """
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise InputError(f"{path}: no such file: expected a file of boxes and tracks") from None
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        pictures = recording.files if recording and recording.kind == "folder" else ()
        form, self.tracks = read_tracks(
            path,
            content,
            form,
            recording=recording.name if recording else "",
            pictures={picture.name: number for number, picture in enumerate(pictures)},
        )
        self.path, self.name = path, f"tracks-{form}-{hashlib.sha256(content).hexdigest()[:16]}"
        self.forget()

    def forget(self) -> None:
        """Begin to count."""
        self.pixels: Tracks | None = None
        self.size = 0, 0
        self.last = -1
        """Number of the last frame that came."""
        self.seen = 0
        """Boxes of the frames that came."""
        self.useless = 0
        """Boxes that are tiny, or mostly outside the frame."""
        self.shown: set[int] = set()
        """Tracks with a usable box."""

    def start(self, recording: Recording) -> None:
        """Forget earlier frames."""
        self.forget()

    def follow(self) -> Follower:
        """Begin the recording."""
        return self.people_in

    def people_in(self, frame: Frame) -> list[tuple[int, Box, float]]:
        """The usable boxes of a frame."""
        height, width = frame.image.shape[:2]
        if self.pixels is None or (width, height) != self.size:
            self.pixels, self.size = self.fitted(width, height), (width, height)
        tracks, self.last = self.pixels, frame.number
        first, end = np.searchsorted(tracks.frames, (frame.number, frame.number + 1))
        self.seen += int(end - first)
        found = []
        for place in range(first, end):
            x, y, wide, high = tracks.boxes[place].tolist()
            box, number = np.array([x, y, x + wide, y + high], np.float32), int(tracks.numbers[place])
            if shows_enough(box, width, height):
                found.append((number, box, float(tracks.scores[place])))
                self.shown.add(number)
            else:
                self.useless += 1
        return found

    def fitted(self, width: int, height: int) -> Tracks:
        """The tracks in pixels of frames of this size. Raises :class:`VideoError` if they are of other frames."""
        said = self.tracks.size
        if said is not None and said != (width, height):
            raise VideoError(
                f"{self.path}: is for frames of {said[0]} x {said[1]} pixels, the recording has {width} x {height}: is "
                "it of another recording?"
            )
        return self.tracks.in_pixels((width, height))

    def doubts(self) -> list[str]:
        """Count what could not be used. Raises :class:`VideoError` if that is most of the boxes."""
        count = len(self.tracks.frames)
        late = count - self.seen
        width, height = self.size
        odd = []
        if late:
            odd.append(f"{late} are in frames that the recording does not have (its last is {self.last}, from 0)")
        if self.useless:
            odd.append(f"{self.useless} are tiny or mostly outside the {width} x {height} pixels of a frame")
        if late + self.useless > MOSTLY_WRONG * count:
            raise VideoError(f"{self.path}: of {count} boxes, {' and '.join(odd)}: is it of another recording?")
        lost = len(set(self.tracks.numbers.tolist()) - self.shown)
        warnings = [f"{self.path}: of {count} boxes, {' and '.join(odd)}; they are left out"] if odd else []
        if lost:
            warnings.append(f"{self.path}: {lost} of {lost + len(self.shown)} tracks have no usable box")
        if self.tracks.others:
            warnings.append(
                f"{self.path}: {self.tracks.others} boxes of other classes, or marked to be ignored, are left out"
            )
        return warnings
