"""Cameras, from their frames to the gallery, for as long as they run."""

import math
import secrets
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from reid_toolkit.errors import AuditError, GalleryError, InputError, UnavailableError
from reid_toolkit.files import as_text
from reid_toolkit.footage.detector import Detector
from reid_toolkit.footage.extract import Settings
from reid_toolkit.footage.frames import Recording
from reid_toolkit.gallery.base import GalleryStore
from reid_toolkit.live.again import discard_earlier, earlier_records, name_of
from reid_toolkit.live.announcer import Announcer
from reid_toolkit.live.enrolling import Account, Enroller
from reid_toolkit.live.feed import Feed, close_all, wait_for_any
from reid_toolkit.live.follower import Follower, View
from reid_toolkit.live.report import CameraReport, Meter, WatchReport
from reid_toolkit.runtime import Embedder

LOOK_SECONDS = 0.5
"""While no frame comes, the time between two looks at whether to stop."""
EXPIRE_SECONDS = 600.0
"""Between two deletions of records past the gallery's retention, which searches do not show anyway."""


@dataclass(frozen=True)
class Camera:
    """A camera to watch."""

    name: str
    recording: Recording
    detector: Detector
    """Several cameras may share a detector only if it sees each frame on its own."""


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
    announcer: Announcer | None = None,
    on_status: Callable[[WatchReport], None] = lambda report: None,
) -> WatchReport:
    """Enroll the people before one camera. See :func:`watch_cameras`."""
    return watch_cameras(
        [Camera(camera, recording, detector)],
        embedder,
        gallery,
        settings,
        by_quality=by_quality,
        thumbnails=thumbnails,
        allow=allow,
        loops=loops,
        seconds=seconds,
        stop=stop,
        announcer=announcer,
        on_status=on_status,
    )


def watch_cameras(
    cameras: Sequence[Camera],
    embedder: Embedder,
    gallery: GalleryStore,
    settings: Settings,
    *,
    by_quality: bool = False,
    thumbnails: bool = False,
    allow: bool = False,
    loops: int = 1,
    seconds: float | None = None,
    stop: threading.Event | None = None,
    announcer: Announcer | None = None,
    on_status: Callable[[WatchReport], None] = lambda report: None,
) -> WatchReport:
    """Enroll the people of files, ``loops`` times over, and of streams until they are stopped.

    A file is read frame by frame. Of a stream, the newest frame is taken, and frames that came meanwhile are dropped; a
    stream that breaks is opened again. The cameras take turns: in each, every camera that has a frame gives one, so
    that a slow, fast or broken camera holds up no other. Watching ends after ``seconds``, when ``stop`` is set, or when
    all files have ended and there is no stream. Whoever is in view then, or when an error ends it, is enrolled.

    While the gallery is locked, full or away, tracklets wait to be enrolled, with a RuntimeWarning. If the same file is
    watched again to its end, the new records replace the earlier ones. Records of another file that was at this path
    before stay, with a warning. Records past the gallery's retention are deleted at the beginning, now and then, and at
    the end. Camera statistics are fitted at the end if they are due.

    An ``announcer`` sends events about the people in view. ``on_status`` is called after each frame, and from time to
    time when none comes. :class:`View` describes the other settings.

    Raises:
        InputError: settings contradict each other, or two cameras have the same name.
        ReidError: a detector, the embedder or the gallery fails.
    """
    refuse_contradictions(cameras, settings, loops)
    enroller, changed = Enroller(gallery, allow), threading.Condition()
    views = [view_of(camera, settings, by_quality, thumbnails) for camera in cameras]
    accounts = [
        Account(earlier={} if camera.recording.is_stream else earlier_records(gallery, view))
        for camera, view in zip(cameras, views, strict=True)
    ]
    followers = [
        Follower(view, camera.detector, embedder, enroller, account, announcer)
        for camera, view, account in zip(cameras, views, accounts, strict=True)
    ]
    lanes = [
        Lane(camera, follower, Feed(camera.recording, camera.name, loops, follower.view.patience, changed))
        for camera, follower in zip(cameras, followers, strict=True)
    ]
    meter = Meter([lane.report for lane in lanes])

    def on_frame() -> None:
        if announcer:
            announcer.poll()
        on_status(meter.report())

    def over() -> bool:
        return (stop is not None and stop.is_set()) or (seconds is not None and meter.seconds >= seconds)

    try:
        try:
            take_turns(lanes, changed, enroller, meter, over, on_frame)
        finally:
            close_all([lane.feed for lane in lanes])
    except Exception:
        with suppress(GalleryError):  # which may be what ends it
            end_all(lanes, enroller)
        raise
    end_all(lanes, enroller)
    for lane in lanes:
        if lane.feed.ended:
            discard_earlier(gallery, lane.camera.recording, lane.follower.account)
    meter.expired += expire(gallery)
    try:
        # At the end alone: it reads all records, and frames would be dropped meanwhile.
        gallery.refresh_statistics(if_due=True)
    except UnavailableError as error:
        warnings.warn(f"camera statistics were not fitted: {error}", RuntimeWarning, stacklevel=3)
    return meter.report()


def refuse_contradictions(cameras: Sequence[Camera], settings: Settings, loops: int) -> None:
    """Raise :class:`InputError` if streams are to begin at a time or again, or if names are not different."""
    for camera in cameras:
        if camera.recording.is_stream and (loops > 1 or settings.start is not None):
            raise InputError(
                f"{camera.recording.source}: a stream has its own time and does not begin again: no start, no loops"
            )
    refuse_same_names([camera.name for camera in cameras])


def refuse_same_names(names: Sequence[str]) -> None:
    """Raise :class:`InputError` if two cameras have the same name."""
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"{names.count(name)} cameras have the name {name!r}: give each its own with --camera, in the order of "
                "the videos"
            )


def view_of(camera: Camera, settings: Settings, by_quality: bool, thumbnails: bool) -> View:
    """The settings of a camera, with the beginning of the names of its tracklets."""
    recording = camera.recording
    # A second is not enough: boxes whose clock has no battery begin at the same one again and again.
    start = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    name = f"{camera.name}-{start}" if recording.is_stream else name_of(recording, camera.name)
    source = as_text(recording.source)
    return View(camera.name, source, name, recording.frame_rate, settings, by_quality, thumbnails)


@dataclass(frozen=True)
class Lane:
    """A camera while it is watched."""

    camera: Camera
    follower: Follower
    feed: Feed

    def report(self) -> CameraReport:
        """The counts so far."""
        feed = self.feed
        return CameraReport(
            self.camera.name,
            self.camera.recording.source,
            self.follower.tally,
            feed.dropped,
            feed.reconnects,
            feed.damaged,
            feed.ended,
        )


def take_turns(
    lanes: Sequence[Lane],
    changed: threading.Condition,
    enroller: Enroller,
    meter: Meter,
    over: Callable[[], bool],
    on_frame: Callable[[], None],
) -> None:
    """Follow people until all frames have ended or ``over()`` is true. Each camera gives one frame a turn.

    Records past the gallery's retention are deleted now and then.
    """
    expired, waited = -math.inf, False

    def keep_house() -> None:
        nonlocal expired
        enroller.store()
        if time.monotonic() - expired >= EXPIRE_SECONDS:
            meter.expired += expire(enroller.gallery)
            expired = time.monotonic()
        on_frame()

    while pending := [lane for lane in lanes if not lane.feed.ended]:
        idle = True
        for lane in pending:
            frame = lane.feed.take()
            if lane.feed.ended:
                lane.follower.close()
                continue
            if over():
                return
            if frame is None:
                lane.follower.rest()
                continue
            idle = False
            lane.follower.see(frame)
            keep_house()
        if idle and waited:
            keep_house()
        waited = idle
        if idle:
            wait_for_any([lane.feed for lane in pending], changed, LOOK_SECONDS)


def end_all(lanes: Sequence[Lane], enroller: Enroller) -> None:
    """End all tracklets and enroll them, because no more frames come."""
    for lane in lanes:
        lane.follower.close()
    enroller.finish()


def expire(gallery: GalleryStore) -> int:
    """Delete the records past the retention, and return how many. If that cannot be done now, warn, and leave it to
    the next time."""
    try:
        return gallery.expire()
    except (UnavailableError, AuditError) as error:
        warnings.warn(f"what is past the retention was not deleted: {error}", RuntimeWarning, stacklevel=3)
        return 0
