"""One camera, from its frames to the gallery, for as long as it runs."""

import math
import secrets
import threading
import time
import warnings
from collections.abc import Callable, Generator
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
"""Between looks at whether to stop, where no frame comes."""
EXPIRE_SECONDS = 600.0
"""Between deletions of what is past the gallery's retention. Searches do not show it anyway."""


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

    A file is read frame by frame. Of a stream the newest frame is taken, and those that came meanwhile are dropped;
    when it breaks it is opened again. Ends after ``seconds``, or when ``stop`` is set; whoever is in view is enrolled
    then, and after an error, too. While the gallery is locked, full or away, tracklets wait to be enrolled; warns of it
    (RuntimeWarning), as of all else that the gallery cannot do for now. ``on_status`` is called after each frame, and
    from time to time when there is none. Run again on the same file, and to its end, the new records replace all of the
    first ones; those of other bytes that lay at its path stay, with a warning. What is past the gallery's retention is
    deleted at the beginning, now and then, and at the end. Camera statistics are fitted at the end, where they are due.

    The rest is in :class:`View`. Raises :class:`InputError` for settings that contradict each other, and what the
    detector, the embedder and the gallery raise.
    """
    if recording.is_stream and (loops > 1 or settings.start is not None):
        raise InputError(f"{recording.source}: a stream has its own time and does not begin again: no start, no loops")
    # A second is not enough: boxes whose clock has no battery begin at the same one again and again.
    start = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    name = f"{camera}-{start}" if recording.is_stream else name_of(recording, camera)
    view = View(camera, as_text(recording.source), name, recording.frame_rate, settings, by_quality, thumbnails, allow)
    follower = Follower(view, detector, embedder, gallery)
    earlier = follower.enroller.earlier = {} if recording.is_stream else earlier_records(gallery, view)
    stop = stop or threading.Event()
    wall, cpu = time.perf_counter(), time.process_time()
    live = LiveFrames(recording) if recording.is_stream else None

    def report() -> WatchReport:
        return WatchReport(
            replace(follower.tally),
            live.dropped if live else 0,
            live.reconnects if live else 0,
            len(damage),
            time.perf_counter() - wall,
            time.process_time() - cpu,
        )

    expired, came_to_end = -math.inf, False
    damage: list[None] = []
    frames = (
        frames_of_stream(live) if live else frames_of_file(recording, loops, view.patience, lambda: damage.append(None))
    )
    try:
        with closing(frames):
            for frame in frames:
                if stop.is_set() or (seconds is not None and time.perf_counter() - wall >= seconds):
                    break
                if frame is not None:
                    follower.see(frame)
                elif time.monotonic() - follower.last > view.patience:
                    follower.end_all()
                follower.enroller.store()
                if time.monotonic() - expired >= EXPIRE_SECONDS:
                    expire(gallery, follower.tally)
                    expired = time.monotonic()
                on_status(report())
            else:
                came_to_end = True
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
    return report()


def expire(gallery: GalleryStore, tally: Tally) -> None:
    """Delete what is past the retention; what that cannot be done for now is left to the next time, with a warning."""
    try:
        tally.expired += gallery.expire()
    except (UnavailableError, AuditError) as error:
        warnings.warn(f"what is past the retention was not deleted: {error}", RuntimeWarning, stacklevel=3)


def frames_of_file(
    recording: Recording, loops: int, patience: float, on_damage: Callable[[], None]
) -> Generator[Frame, None, None]:
    """A recording's frames, over and over; between two rounds more time passes than anybody is followed for."""
    number, began = 0, 0.0
    for _ in range(loops):
        last = began
        for frame in recording.frames(on_damage):
            last = began + frame.time
            yield replace(frame, number=number, time=last)
            number += 1
        began = last + patience + 1 / recording.frame_rate


def frames_of_stream(live: LiveFrames) -> Generator[Frame | None, None, None]:
    """The newest frame each time, or None where none comes for a moment; without end."""
    with closing(live):
        while True:
            yield live.take(LOOK_SECONDS)
