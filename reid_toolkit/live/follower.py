"""Follow the people in view. Each person's descriptor is updated frame by frame, until the tracklet ends."""

import time
from dataclasses import dataclass, field

from reid_toolkit.footage.crops import cut
from reid_toolkit.footage.detector import Detector
from reid_toolkit.footage.extract import Settings
from reid_toolkit.footage.frame_times import leap
from reid_toolkit.footage.frames import Frame
from reid_toolkit.footage.tracker import Tracker
from reid_toolkit.images import Image, thumbnail
from reid_toolkit.live.announcer import Announcer, InView
from reid_toolkit.live.enrolling import Account, Enroller
from reid_toolkit.records import Record
from reid_toolkit.runtime import Embedder, TrackletAverage


@dataclass
class Person:
    """A tracklet that has not ended. It stores a single descriptor, however long it gets."""

    name: str
    """Of the tracklet."""
    start: float
    """Seconds, as in :class:`Frame.time`."""
    end: float
    boxes: int = 0
    average: TrackletAverage = field(default_factory=TrackletAverage)
    best: float = 0.0
    """Quality of the best crop so far, if thumbnails are stored."""
    picture: Image | None = None
    """The best crop so far."""


@dataclass(frozen=True)
class View:
    """The settings of a watch."""

    camera: str
    source: str
    """Source of the recording, for the records."""
    name: str
    """Names of tracklets are this and a number."""
    frame_rate: float
    """Frames per second of the source, before frames are dropped."""
    settings: Settings
    """Settings as for ingestion: every ``every``-th box of a tracklet is embedded, a tracklet with fewer crops than
    ``min_crops`` is not enrolled, and ``start`` is added to all times."""
    by_quality: bool = False
    """Weight a tracklet's crops by their quality."""
    thumbnails: bool = False
    """Store a small picture of each tracklet's best crop in the gallery."""

    @property
    def patience(self) -> float:
        """Seconds without a frame after which all tracklets in view end."""
        return leap(self.frame_rate)


class Follower:
    """Takes a camera's frames in order, and gives each ended tracklet to an enroller."""

    def __init__(
        self,
        view: View,
        detector: Detector,
        embedder: Embedder,
        enroller: Enroller,
        account: Account,
        announcer: Announcer | None = None,
    ) -> None:
        self.view, self.detector, self.embedder, self.enroller = view, detector, embedder, enroller
        self.account, self.tally, self.announcer = account, account.tally, announcer
        self.people: dict[int, Person] = {}
        """The people in view, by the tracker's number."""
        self.begun = 0
        """Tracklets so far, of which some may not have ended."""
        self.tracker = Tracker(view.frame_rate)
        self.last = 0.0
        """When the last frame came, by ``time.monotonic()``, because the system's clock may be changed."""
        self.frame_time = 0.0
        """Time of the last frame, seconds."""
        self.resting = True
        """Whether no tracklet can go on, because too much time has passed without frames."""
        detector.start(view.frame_rate)

    def see(self, frame: Frame) -> None:
        """Take the next frame. Frames before it may have been dropped."""
        self.last, self.frame_time, self.resting = time.monotonic(), frame.time, False
        due: list[tuple[Person, Image]] = []
        shown: dict[str, Person] = {}
        for track, box, _ in self.tracker.update(*self.detector(frame.image), frame.time):
            person = self.people.get(track) or self.begin(track, frame.time)
            person.end = frame.time
            person.boxes += 1
            shown[person.name] = person
            if (person.boxes - 1) % self.view.settings.every == 0:
                crop = cut(frame.image, box, self.view.settings.margin)
                if crop is not None:
                    due.append((person, crop))
        rows = self.embedder.embed([crop for _, crop in due])
        for (person, crop), row in zip(due, rows, strict=True):
            quality = self.embedder.quality(crop) if self.view.by_quality or self.view.thumbnails else 0.0
            person.average.add(row, quality if self.view.by_quality else None)
            if self.view.thumbnails and quality > person.best:
                # A copy, because the crop is a view that keeps its whole frame in memory.
                person.best, person.picture = quality, crop.copy()
        self.tally.frames += 1
        self.tally.crops += len(due)
        if self.announcer:
            changed = {person.name for person, _ in due}
            for name, person in shown.items():
                self.announcer.look(self.in_view(person), person.average if name in changed else None)
        for track in sorted(self.people.keys() - self.tracker.alive):
            self.end(track)
        self.announce_time()

    def begin(self, track: int, time: float) -> Person:
        """Begin a tracklet. It has its name from now on, so that others can speak of it while it lasts."""
        person = self.people[track] = Person(f"{self.view.name}-{self.begun:05d}", time, time)
        self.begun += 1
        return person

    def in_view(self, person: Person) -> InView:
        """What events say of a tracklet."""
        enough = person.average.count >= self.view.settings.min_crops
        start, end = self.began + person.start, self.began + person.end
        return InView(self.view.camera, person.name, start, end, person.average.count, enough)

    @property
    def began(self) -> float:
        """What is added to the times of frames, seconds."""
        return self.view.settings.start or 0.0

    def announce_time(self, passed: float = 0.0) -> None:
        """Let those leave who were not seen for long. ``passed``: seconds since the last frame."""
        if self.announcer:
            self.announcer.pass_time(self.view.camera, self.began + self.frame_time + passed)

    def rest(self) -> None:
        """No new frame has come. End all tracklets in view if that lasts too long."""
        if not self.last:
            return
        passed = time.monotonic() - self.last
        if not self.resting and passed > self.view.patience:
            self.end_all()
        self.announce_time(passed)

    def end_all(self) -> None:
        """End all tracklets in view."""
        for track in sorted(self.people):
            self.end(track)
        self.tracker.forget()
        self.resting = True

    def close(self) -> None:
        """End all tracklets, and let everybody leave, because no more frames come."""
        self.end_all()
        if self.announcer:
            self.announcer.close_camera(self.view.camera)

    def end(self, track: int) -> None:
        """End a tracklet. The next call of the enroller stores it."""
        person = self.people.pop(track)
        seen = self.in_view(person)
        if seen.enough:
            record = Record(
                tracklet=person.name,
                camera=self.view.camera,
                start=seen.start,
                end=seen.end,
                source=self.view.source,
                thumbnail=b"" if person.picture is None else thumbnail(person.picture),
            )
            self.enroller.put(person.average.descriptor, record, self.account)
            if self.announcer:
                self.announcer.enroll(record)
        if self.announcer:
            self.announcer.end(seen, self.began + self.frame_time)
        self.tally.tracklets += 1
