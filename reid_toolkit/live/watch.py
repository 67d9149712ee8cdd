"""One camera, from its frames to the gallery, for as long as it runs."""

import math
import secrets
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from reid_toolkit.errors import AuditError, GalleryError, InputError, UnavailableError
from reid_toolkit.files import as_text
from reid_toolkit.footage.detector import Detector
from reid_toolkit.footage.extract import Settings
from reid_toolkit.footage.frames import Frame, Recording
from reid_toolkit.gallery.base import GalleryStore
from reid_toolkit.live.again import discard_earlier, earlier_records, name_of
from reid_toolkit.live.enrolling import Tally
from reid_toolkit.live.follower import Follower, View
from reid_toolkit.live.stream import LiveFrames
from reid_toolkit.runtime import Embedder

LOOK_SECONDS = 0.5
"""While no frame comes, the time between two looks at whether to stop."""
EXPIRE_SECONDS = 600.0
"""Between two deletions of records past the gallery's retention, which searches do not show anyway."""


@dataclass(frozen=True)
class WatchReport:
    """How watching went so far."""

    tally: Tally
    dropped: int
    """Frames of a stream that came while an earlier one was still worked on."""
    reconnects: int
    """How often a stream broke and came back."""
    damaged: int
    """Pieces of a file that could not be decoded; what came after them was seen."""
    seconds: float
    """Wall-clock time."""
    cpu_seconds: float
    """Of all threads of this process."""

    @property
    def frames_per_second(self) -> float:
        """Frames seen by the detector, a second of wall-clock time."""
        return self.tally.frames / self.seconds if self.seconds else 0.0

    @property
    def cores(self) -> float:
        """Cores in use, on average."""
        return self.cpu_seconds / self.seconds if self.seconds else 0.0


def watch(
    recording: Recording,
    camera: str,
    embedder: Embedder,
    gallery: GalleryStore,
    detector: Detector,
    settings: Settings,
    *,
    by_quality: bool = False,
    thumbnails: bool = False,
    allow: bool = False,
    loops: int = 1,
    seconds: float | None = None,
    stop: threading.Event | None = None,
    on_status: Callable[[WatchReport], None] = lambda report: None,
) -> WatchReport:
    """Enroll the people of a file, ``loops`` times over, or of a stream until it is stopped.

    A file is read frame by frame. Of a stream, the newest frame is taken, and frames that came meanwhile are dropped; a
    stream that breaks is opened again. Watching ends after ``seconds`` or when ``stop`` is set. Whoever is in view
    then, or when an error ends it, is enrolled.

    While the gallery is locked, full or away, tracklets wait to be enrolled, with a RuntimeWarning. If the same file is
    watched again to its end, the new records replace the earlier ones. Records of another file that was at this path
    before stay, with a warning. Records past the gallery's retention are deleted at the beginning, now and then, and at
    the end. Camera statistics are fitted at the end if they are due.

    ``on_status`` is called after each frame, and from time to time when none comes. :class:`View` describes the other
    settings.

    Raises:
        InputError: settings contradict each other.
        ReidError: the detector, the embedder or the gallery fails.
    """
    if recording.is_stream and (loops > 1 or settings.start is not None):
        raise InputError(f"{recording.source}: a stream has its own time and does not begin again: no start, no loops")
    # A second is not enough: boxes whose clock has no battery begin at the same one again and again.
    start = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    name = f"{camera}-{start}" if recording.is_stream else name_of(recording, camera)
    view = View(camera, as_text(recording.source), name, recording.frame_rate, settings, by_quality, thumbnails, allow)
    follower = Follower(view, detector, embedder, gallery)
    earlier = follower.enroller.earlier = {} if recording.is_stream else earlier_records(gallery, view)
    live = LiveFrames(recording) if recording.is_stream else None
    meter = Meter(follower.tally, live)
    frames = frames_of_stream(live) if live else frames_of_file(recording, loops, view.patience, meter.count_damage)

    def over() -> bool:
        return (stop is not None and stop.is_set()) or (seconds is not None and meter.seconds >= seconds)

    try:
        with closing(frames):
            came_to_end = follow(frames, follower, gallery, over, lambda: on_status(meter.report()))
    except Exception:
        with suppress(GalleryError):  # which may be what ends it
            follower.finish()
        raise
    follower.finish()
    if came_to_end:
        discard_earlier(gallery, recording, earlier, follower.tally)
    expire(gallery, follower.tally)
    try:
        # At the end alone: it reads all records, and frames would be dropped meanwhile.
        gallery.refresh_statistics(if_due=True)
    except UnavailableError as error:
        warnings.warn(f"camera statistics were not fitted: {error}", RuntimeWarning, stacklevel=2)
    return meter.report()


def follow(
    frames: Iterable[Frame | None],
    follower: Follower,
    gallery: GalleryStore,
    over: Callable[[], bool],
    on_frame: Callable[[], None],
) -> bool:
    """Follow people through ``frames`` until these end or ``over()`` is true. Returns whether the frames ended.

    A frame of None stands for a moment in which none came. Records past the gallery's retention are deleted now and
    then.
    """
    expired = -math.inf
    for frame in frames:
        if over():
            return False
        if frame is not None:
            follower.see(frame)
        elif time.monotonic() - follower.last > follower.view.patience:
            follower.end_all()
        follower.enroller.store()
        if time.monotonic() - expired >= EXPIRE_SECONDS:
            expire(gallery, follower.tally)
            expired = time.monotonic()
        on_frame()
    return True


class Meter:
    """Measures how watching goes, from the moment it is made."""

    def __init__(self, tally: Tally, live: LiveFrames | None) -> None:
        self.tally, self.live, self.damaged = tally, live, 0
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.wall

    def count_damage(self) -> None:
        self.damaged += 1

    def report(self) -> WatchReport:
        dropped, reconnects = (self.live.dropped, self.live.reconnects) if self.live else (0, 0)
        cpu = time.process_time() - self.cpu
        return WatchReport(replace(self.tally), dropped, reconnects, self.damaged, self.seconds, cpu)


def expire(gallery: GalleryStore, tally: Tally) -> None:
    """Delete the records past the retention; if that cannot be done now, warn, and leave it to the next time."""
    try:
        tally.expired += gallery.expire()
    except (UnavailableError, AuditError) as error:
        warnings.warn(f"what is past the retention was not deleted: {error}", RuntimeWarning, stacklevel=3)


def frames_of_file(
    recording: Recording, loops: int, patience: float, on_damage: Callable[[], None]
) -> Generator[Frame, None, None]:
    """A recording's frames, ``loops`` times over.

    Between two loops, time jumps by more than ``patience`` seconds, so that nobody is followed into the next one.
    """
    number, began = 0, 0.0
    for _ in range(loops):
        last = began
        for frame in recording.frames(on_damage):
            last = began + frame.time
            yield replace(frame, number=number, time=last)
            number += 1
        began = last + patience + 1 / recording.frame_rate


def frames_of_stream(live: LiveFrames) -> Generator[Frame | None, None, None]:
    """The newest frame each time, or None if none comes for a moment; without end."""
    with closing(live):
        while True:
            yield live.take(LOOK_SECONDS)
