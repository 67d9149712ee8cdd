"""One recording to tracklets: detect, track, cut, commit."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from reid_toolkit.footage.crops import TrackletWriter
from reid_toolkit.footage.detector import Detector
from reid_toolkit.footage.frames import Frame, Recording
from reid_toolkit.footage.store import Entry, IngestStore
from reid_toolkit.footage.tracker import Tracker

STREAM_PART_SECONDS = 600.0
"""A stream is stored in parts of this length: what kill -9 loses at most."""
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

    @property
    def asked(self) -> dict[str, Any]:
        """All that decides what comes out; a recording is ingested into a dataset with one set of these."""
        return {"camera": self.camera, "frame_rate": self.recording.frame_rate, **asdict(self.settings)}


def ingest_file(work: Work) -> None:
    """A whole recording, committed at its end."""
    recording = work.recording
    work.detector.start(recording.frame_rate)
    name = recording.name if work.camera == recording.name else f"{work.camera}-{recording.name}"
    entry, _ = extract(work, work.store.free_name(name), recording.frames())
    read, declared = entry["frames"], recording.frame_count
    if declared and read < ENDS_EARLY * declared:
        work.report.warnings.append(
            f"{recording.source}: ends early: {read} of {declared} declared frames could be read; what was read is kept"
        )
    if not entry["tracklets"]:
        work.report.warnings.append(
            f"{recording.source}: no tracklets in {read} frames ({entry['dropped']} too short): is "
            f"{work.settings.detector} the right detector? motion wants a fixed camera and people who walk"
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
        _, more = extract(work, work.store.free_name(f"{work.camera}-{stamp}"), frames, stop)
        going = more and (end is None or time.time() < end)


def extract(work: Work, name: str, frames: Iterator[Frame], stop: float | None = None) -> tuple[Entry, bool]:
    """Detect, track and cut through ``frames`` (of a stream: to the time ``stop``) and commit the tracklets.

    Returns the entry in the journal, and whether there may be more frames.
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
            "settings": work.asked,
            "frames": report.frames - before,
            "tracklets": tracklets,
            "dropped": dropped,
            "crops": len(crops),
        }
        work.store.commit(staging, crops, entry)
    report.tracklets += tracklets
    report.dropped += dropped
    report.crops += len(crops)
    return entry, more
