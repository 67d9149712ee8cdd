"""The people in view: each one's descriptor grows frame by frame, until the tracklet ends."""

import time
from dataclasses import dataclass, field

from reid_toolkit.footage.crops import cut
from reid_toolkit.footage.detector import Detector
from reid_toolkit.footage.extract import Settings
from reid_toolkit.footage.frame_times import leap
from reid_toolkit.footage.frames import Frame
from reid_toolkit.footage.tracker import Tracker
from reid_toolkit.gallery.base import GalleryStore
from reid_toolkit.images import Image, thumbnail
from reid_toolkit.live.enrolling import Enroller, Tally
from reid_toolkit.records import Record
from reid_toolkit.runtime import Embedder, TrackletAverage


@dataclass
class Person:
    """A tracklet that goes on; it holds one descriptor, however long it gets."""

    start: float
    """Seconds, as in :class:`Frame.time`."""
    end: float
    boxes: int = 0
    average: TrackletAverage = field(default_factory=TrackletAverage)
    best: float = 0.0
    """Quality of the best crop so far, where thumbnails are wanted."""
    picture: Image | None = None
    """That crop."""


@dataclass(frozen=True)
class View:
    """What does not change while a camera is watched."""

    camera: str
    source: str
    """Of the recording; enters the records."""
    name: str
    """Tracklets are called by it and a number."""
    frame_rate: float
    """Frames a second, before any is dropped."""
    settings: Settings
    """As for ingestion: every K-th box of a tracklet is embedded; one with fewer crops than ``min_crops`` is not
    enrolled; ``start`` is added to all times."""
    by_quality: bool = False
    """Weigh a tracklet's crops by their quality."""
    thumbnails: bool = False
    """Keep a small picture of each tracklet's best crop in the gallery."""
    allow: bool = False
    """Enroll also what is on the gallery's block list, and take it off."""

    @property
    def patience(self) -> float:
        """Seconds without a frame after which nobody in view can be followed any further."""
        return leap(self.frame_rate)


class Follower:
    """Takes a camera's frames in order, and hands each tracklet that ends to an enroller."""

    def __init__(self, view: View, detector: Detector, embedder: Embedder, gallery: GalleryStore) -> None:
        self.view, self.detector, self.embedder = view, detector, embedder
        self.tally = Tally()
        self.enroller = Enroller(gallery, self.tally, view.allow)
        self.people: dict[int, Person] = {}
        """By the tracker's number."""
        self.tracker = Tracker(view.frame_rate)
        self.last = 0.0
        """When the last frame came, by ``time.monotonic()``: the clock may be set."""
        detector.start(view.frame_rate)

    def see(self, frame: Frame) -> None:
        """Take the next frame; some may have been left out before it."""
        self.last = time.monotonic()
        due: list[tuple[Person, Image]] = []
        for track, box, _ in self.tracker.update(*self.detector(frame.image), frame.time):
            person = self.people.setdefault(track, Person(frame.time, frame.time))
            person.end = frame.time
            person.boxes += 1
            if (person.boxes - 1) % self.view.settings.every == 0:
                crop = cut(frame.image, box, self.view.settings.margin)
                if crop is not None:
                    due.append((person, crop))
        rows = self.embedder.embed([crop for _, crop in due])
        for (person, crop), row in zip(due, rows, strict=True):
            quality = self.embedder.quality(crop) if self.view.by_quality or self.view.thumbnails else 0.0
            person.average.add(row, quality if self.view.by_quality else None)
            if self.view.thumbnails and quality > person.best:
                # A copy: the crop is a view of its frame, which would be held as well.
                person.best, person.picture = quality, crop.copy()
        self.tally.frames += 1
        self.tally.crops += len(due)
        for track in sorted(self.people.keys() - self.tracker.alive):
            self.end(track)

    def end_all(self) -> None:
        """End the tracklets of those in view and forget them: time has passed unseen."""
        for track in sorted(self.people):
            self.end(track)
        self.tracker.forget()

    def finish(self) -> None:
        """Enroll those in view too; nothing comes any more."""
        self.end_all()
        self.enroller.finish()

    def end(self, track: int) -> None:
        """What there is of a tracklet is all of it; it is stored by the next call of the enroller."""
        person = self.people.pop(track)
        settings = self.view.settings
        began = settings.start or 0.0
        if person.average.count >= settings.min_crops:
            record = Record(
                tracklet=f"{self.view.name}-{self.tally.tracklets:05d}",
                camera=self.view.camera,
                start=began + person.start,
                end=began + person.end,
                source=self.view.source,
                thumbnail=b"" if person.picture is None else thumbnail(person.picture),
            )
            self.enroller.put(person.average.descriptor, record)
        self.tally.tracklets += 1
