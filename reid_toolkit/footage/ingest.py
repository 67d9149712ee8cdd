"""Recordings to a dataset of tracklets: the loop over recordings and frames."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from reid_toolkit.errors import InputError, VideoError
from reid_toolkit.footage.crops import TrackletWriter
from reid_toolkit.footage.detector import Detector, load_detector
from reid_toolkit.footage.frames import DEFAULT_FRAME_RATE, Frame, Recording, open_recordings
from reid_toolkit.footage.store import IngestStore, open_store
from reid_toolkit.footage.tracker import Tracker

STREAM_PART_SECONDS = 600.0
"""A stream is stored in parts of this length: what a power cut loses at most."""
ENDS_EARLY = 0.9
"""A video with less than this part of its declared frames is reported: containers are often off by a few."""


@dataclass(frozen=True)
class Settings:
    """What decides which tracklets come out of a recording; stored with them."""

    detector: str
    """Its name, with a fingerprint of its weights."""
    every: int = 5
    """Keep every K-th crop of a tracklet; the tracker sees all frames."""
    min_crops: int = 4
    """Tracklets with fewer kept crops are dropped."""
    margin: float = 0.05
    """Widens a box on each side, as a fraction of its size."""
    start: float | None = None
    """When the recording began, Unix seconds; None when unknown."""
    frame_rate: float = DEFAULT_FRAME_RATE
    """Of folders of frames, frames a second."""


@dataclass
class IngestReport:
    """What one run did. Recordings that were in the dataset before count in ``skipped`` only."""

    videos: int = 0
    skipped: int = 0
    frames: int = 0
    tracklets: int = 0
    dropped: int = 0
    """Tracklets with fewer than ``min_crops`` crops."""
    crops: int = 0
    seconds: float = 0.0
    """Wall-clock time of reading, detecting, tracking and writing."""
    warnings: list[str] = field(default_factory=list)

    @property
    def frames_per_second(self) -> float:
        return self.frames / self.seconds if self.seconds else 0.0


def ingest(
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    camera: str | None = None,
    detector: str | Detector = "motion",
    detector_weights: Path | None = None,
    every: int = Settings.every,
    min_crops: int = Settings.min_crops,
    margin: float = Settings.margin,
    start: datetime | None = None,
    frame_rate: float = Settings.frame_rate,
    seconds: float | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> IngestReport:
    """Add the people of recordings to the dataset folder ``out``, recording by recording.

    ``sources`` are videos, folders of videos, folders of frames (``frame_rate`` frames a second), or stream
    URLs. ``camera`` names the camera of them all; without it each file's stem does. ``start``, of a single
    recording, is when it began (naive means UTC), and makes its times absolute; a stream's always are.
    A stream is read for
    ``seconds``, or until it ends or KeyboardInterrupt. The rest is in :class:`Settings`.

    A recording that the dataset already has is skipped; one that was not finished begins again.
    ``on_progress`` is called with (frames done, frames in all or None). Raises :class:`VideoError` for a
    source that cannot be read, :class:`InputError` for settings that contradict each other or those a
    recording was ingested with, and :class:`DatasetError` for a dataset folder that breaks the data contract.
    """
    if every < 1 or min_crops < 1 or not 0 <= margin <= 1 or not frame_rate > 0:
        raise InputError(
            f"every {every}, min_crops {min_crops}, margin {margin}, frame_rate {frame_rate}: expected "
            "every and min_crops from 1, margin 0-1, frame_rate above 0"
        )
    recordings = open_recordings([str(source) for source in sources], frame_rate)
    streams = [recording for recording in recordings if recording.is_stream]
    if start is not None and (len(recordings) > 1 or streams):
        raise InputError(
            f"start time given with {len(recordings)} recordings, {len(streams)} of them streams: expected "
            "one recorded file; ingest the others one by one"
        )
    if streams and (len(recordings) > 1 or not camera):
        raise InputError(
            f"{streams[0].source}: a stream runs until it is stopped: give it alone, and with a camera name"
        )
    if isinstance(detector, str):
        detector = load_detector(detector, detector_weights)
    began = None if start is None else (start if start.tzinfo else start.replace(tzinfo=UTC)).timestamp()
    settings = Settings(detector.name, every, min_crops, margin, began, frame_rate)
    with open_store(Path(out)) as store:
        pending = [r for r in recordings if not already_stored(store, r, camera or r.name, settings)]
        report = IngestReport(skipped=len(recordings) - len(pending))
        counts = [recording.frame_count for recording in pending]
        total = None if None in counts else sum(count or 0 for count in counts)
        clock = time.perf_counter()
        tick = (lambda: on_progress(report.frames, total)) if on_progress else (lambda: None)
        tick()
        for recording in pending:
            work = Work(recording, camera or recording.name, settings, store, detector, report, tick)
            if recording.is_stream:
                ingest_stream(work, seconds)
            else:
                ingest_file(work)
            report.videos += 1
            report.seconds = time.perf_counter() - clock
    return report


def already_stored(store: IngestStore, recording: Recording, camera: str, settings: Settings) -> bool:
    """Whether the dataset has this recording; raises when it has it otherwise than is asked for now."""
    asked = {"camera": camera, **asdict(settings)}
    for entry in store.entries:
        same = not recording.is_stream and entry["fingerprint"] == recording.fingerprint
        if not same and entry["source"] == recording.source and not recording.is_stream:
            raise VideoError(
                f"{recording.source}: has changed since it was ingested into {store.root}: give the new "
                "recording another name, or use another --out"
            )
        if same:
            stored = entry["settings"]
            other = [
                f"{key} was {stored.get(key)!r}, is {asked[key]!r}"
                for key in asked
                if stored.get(key) != asked[key]
            ]
            if other:
                raise InputError(
                    f"{recording.source}: already in {store.root} with other settings ({'; '.join(other)}): "
                    "use those, or another --out"
                )
            return True
    return False


@dataclass(frozen=True)
class Work:
    """What the functions below share about one recording."""

    recording: Recording
    camera: str
    settings: Settings
    store: IngestStore
    detector: Detector
    report: IngestReport
    tick: Callable[[], None]


def ingest_file(work: Work) -> None:
    """A whole recording, committed at its end."""
    recording = work.recording
    work.detector.start(recording.frame_rate)
    before = work.report.frames
    name = work.store.free_name(
        f"{work.camera}-{recording.name}" if work.camera != recording.name else work.camera
    )
    extract(work, name, recording.frames())
    read = work.report.frames - before
    if recording.frame_count and read < ENDS_EARLY * recording.frame_count:
        work.report.warnings.append(
            f"{recording.source}: ends early: {read} of {recording.frame_count} declared frames could be "
            "read; what was read is kept"
        )


def ingest_stream(work: Work, seconds: float | None) -> None:
    """A live stream in parts, each committed at its end; KeyboardInterrupt ends the last part early."""
    work.detector.start(work.recording.frame_rate)
    frames = work.recording.frames()
    end = None if seconds is None else time.time() + seconds
    going = True
    while going:
        now = time.time()
        stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
        stop = now + STREAM_PART_SECONDS if end is None else min(end, now + STREAM_PART_SECONDS)
        going = extract(work, work.store.free_name(f"{work.camera}-{stamp}"), frames, stop)
        going = going and (end is None or time.time() < end)


def extract(work: Work, name: str, frames: Iterator[Frame], stop: float | None = None) -> bool:
    """Detect, track and cut through ``frames`` (of a stream: to the time ``stop``) and commit the tracklets.

    Returns whether there may be more frames.
    """
    settings, report = work.settings, work.report
    tracker = Tracker(work.recording.frame_rate)
    began = settings.start or 0.0
    before, more = report.frames, False
    with work.store.staging(name) as staging:
        writer = TrackletWriter(staging, name, work.camera, settings.every, settings.margin)
        try:
            for frame in frames:
                for track, box, score in tracker.update(*work.detector(frame.image)):
                    writer.add(track, frame.image, frame.number, began + frame.time, box, score)
                report.frames += 1
                work.tick()
                if stop is not None and frame.time >= stop:
                    more = True
                    break
        except KeyboardInterrupt:
            if not work.recording.is_stream:
                raise
        dropped = writer.drop_short(settings.min_crops)
        crops, tracklets = writer.crops, len(writer.tracks)
        entry = {
            "name": name,
            "source": work.recording.source,
            "fingerprint": work.recording.fingerprint,
            "settings": {"camera": work.camera, **asdict(settings)},
            "frames": report.frames - before,
            "tracklets": tracklets,
            "dropped": dropped,
            "crops": len(crops),
        }
        work.store.commit(staging, crops, entry)
    report.tracklets += tracklets
    report.dropped += dropped
    report.crops += len(crops)
    return more
