"""Turns one recording into tracklets: takes the tracked boxes of its frames, cuts crops, and commits them."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reid_toolkit.datasets.dataset import group_tracklets
from reid_toolkit.datasets.oddities import oddities
from reid_toolkit.errors import VideoError
from reid_toolkit.footage.crops import TrackletWriter
from reid_toolkit.footage.dataset_writer import Entry, IngestStore
from reid_toolkit.footage.frames import Frame, Recording, at_hand
from reid_toolkit.footage.track_sources import TrackSource
from reid_toolkit.records import Crop

STREAM_PART_SECONDS = 600.0
"""A stream is stored in parts of this length. A killed process loses one part at most."""
MANY_BLACK = 0.1
"""A warning is given if more than this fraction of a recording's frames is completely black."""
MOSTLY_SHORT, LEAST_JUDGED = 0.8, 5
"""A camera is doubted if more than this fraction of its tracklets was too short, out of at least this many."""
MOSTLY = 0.5
"""A camera is doubted if more than this fraction of its tracklets looks wrong."""
ENDS_EARLY = 0.9
"""A warning is given if less than this fraction of the declared frames was read. Containers are often off by a few."""


@dataclass(frozen=True)
class Settings:
    """The settings that decide which tracklets come out of a recording. They are stored with the tracklets."""

    detector: str
    """The detector's name with a fingerprint of its weights, or the format and a fingerprint of a file of tracks."""
    every: int = 5
    """Keep every K-th crop of a tracklet; the tracker sees all frames."""
    min_crops: int = 4
    """Tracklets with fewer kept crops are dropped."""
    margin: float = 0.05
    """Widens a box on each side, as a fraction of its size."""
    start: float | None = None
    """When the recording began, in Unix seconds; None if unknown."""


@dataclass
class CameraReport:
    """The counts of one camera in one run."""

    recordings: int = 0
    tracklets: int = 0
    dropped: int = 0
    """Tracklets with fewer than ``min_crops`` crops."""
    crops: int = 0
    cut: int = 0
    """Tracklets whose crops are mostly cut by the frame's edge."""
    odd_shape: int = 0
    """Tracklets too wide or too narrow for a person who stands or walks."""

    @property
    def doubts(self) -> list[str]:
        """Return what looks wrong with the camera's tracklets, one phrase for each problem."""
        problems, all_seen = [], self.tracklets + self.dropped
        if all_seen >= LEAST_JUDGED and self.dropped > MOSTLY_SHORT * all_seen:
            problems.append(f"{self.dropped} of {all_seen} tracklets were too short")
        if self.cut > MOSTLY * self.tracklets:
            problems.append(f"{self.cut} of {self.tracklets} tracklets are cut by the frame's edge")
        if self.odd_shape > MOSTLY * self.tracklets:
            problems.append(f"{self.odd_shape} of {self.tracklets} tracklets are too wide or too narrow for a person")
        return problems


@dataclass
class IngestReport:
    """The counts of one run. Recordings that were already in the dataset are counted only in ``skipped``."""

    videos: int = 0
    skipped: int = 0
    frames: int = 0
    tracklets: int = 0
    dropped: int = 0
    """Tracklets with fewer than ``min_crops`` crops."""
    crops: int = 0
    cameras: dict[str, CameraReport] = field(default_factory=dict)
    """The counts of each camera."""
    seconds: float = 0.0
    """Wall-clock time of reading, detecting, tracking and writing."""
    replaced: int = 0
    """Recordings that were already in the dataset and were read again, because they grew or it was requested."""
    damaged: int = 0
    """Pieces that are missing or could not be decoded. Reading went on after them."""
    waiting: list[str] = field(default_factory=list)
    """Files that changed while they were read. Nothing of them is stored; the next run tries them again."""
    bad: list[str] = field(default_factory=list)
    """What could not be read, one sentence each. The next run tries it again."""
    passed_over: list[str] = field(default_factory=list)
    """Contents of the named folders that are neither videos nor pictures."""
    warnings: list[str] = field(default_factory=list)

    @property
    def frames_per_second(self) -> float:
        """Over the whole run; 0 if nothing was read."""
        return self.frames / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Job:
    """What decides the tracklets of a recording, besides its people. It can be sent to another process."""

    recording: Recording
    camera: str
    settings: Settings
    camera_given: bool = True
    """Whether the user named the camera. If not, the file's name is used."""

    @property
    def asked(self) -> dict[str, Any]:
        """All settings that decide the result. A dataset holds a recording with one set of them."""
        return {"camera": self.camera, "frame_rate": self.recording.frame_rate, **asdict(self.settings)}

    @property
    def wanted_name(self) -> str:
        """The name that the recording should have in the dataset, unless another recording has it."""
        name = self.recording.name
        return name if self.camera == name else f"{self.camera}-{name}"


@dataclass
class Part:
    """What was read of a recording: all of a file, or a part of a stream. Its crops lie in a folder of their own."""

    entry: Entry
    """For the dataset's journal."""
    crops: list[Crop]
    more: bool = False
    """Whether a stream may have more frames."""
    damaged: int = 0
    """Pieces that are missing or could not be decoded."""
    warnings: list[str] = field(default_factory=list)


class StillWrittenError(VideoError):
    """The file changed while it was read."""


def is_about(error: OSError, recording: Recording) -> bool:
    """Whether an error is about a file of a recording, so that others can still be read; else it is of the dataset."""
    return error.filename is not None and str(error.filename) in map(str, recording.files)


def read_file(job: Job, people: TrackSource, folder: Path, name: str, tick: Callable[[], None]) -> Part:
    """Read a whole recording, and cut its crops into ``folder``. It will have this ``name`` in the dataset.

    Raises:
        StillWrittenError: the file changed while it was read, so only a part was read.
        VideoError: every frame is black, the disk or the network share failed, or the recording cannot be fetched from
            object storage.
    """
    with at_hand(job.recording) as recording:
        return read_here(replace(job, recording=recording), people, folder, name, tick)


def read_here(job: Job, people: TrackSource, folder: Path, name: str, tick: Callable[[], None]) -> Part:
    """:func:`read_file` for a recording on this machine."""
    recording = job.recording
    people.start(recording)
    damage: list[None] = []
    part = read_part(job, people, folder, name, recording.frames(lambda: damage.append(None)), tick)
    part.damaged = len(damage)
    entry = part.entry
    read, declared = entry["frames"], recording.frame_count
    if damage:
        part.warnings.append(
            f"{recording.source}: damaged: {len(damage)} {'piece is' if len(damage) == 1 else 'pieces are'} missing "
            f"or could not be decoded; the {read} frames that could be read are kept"
        )
    if declared and read < ENDS_EARLY * declared:
        part.warnings.append(
            f"{recording.source}: ends early: {read} of {declared} declared frames could be read; they are kept"
        )
    if entry["black"] > MANY_BLACK * read:
        part.warnings.append(f"{recording.source}: {entry['black']} of {read} frames are completely black")
    if not entry["tracklets"]:
        part.warnings.append(
            f"{recording.source}: no tracklets in {read} frames ({entry['dropped']} too short): {people.advice}"
        )
    return part


def ingest_stream(
    job: Job,
    people: TrackSource,
    store: IngestStore,
    seconds: float | None,
    report: IngestReport,
    tick: Callable[[], None],
) -> None:
    """Ingest a live stream in parts and commit each at its end. KeyboardInterrupt ends the last part early."""
    people.start(job.recording)
    frames = job.recording.beats()
    end = None if seconds is None else time.monotonic() + seconds
    going = True
    while going:
        now, stamp = time.monotonic(), datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        stop = now + STREAM_PART_SECONDS if end is None else min(end, now + STREAM_PART_SECONDS)
        name = store.free_name(f"{job.camera}-{stamp}")
        with store.staging(name) as folder:
            part = read_part(job, people, folder, name, frames, tick, stop)
            store_part(store, folder, part, report)
        going = part.more and (end is None or time.monotonic() < end)


def read_part(
    job: Job,
    people: TrackSource,
    folder: Path,
    name: str,
    frames: Iterator[Frame | None],
    tick: Callable[[], None],
    stop: float | None = None,
) -> Part:
    """Cut crops of the tracked people in ``frames`` into ``folder``. A stream stops once ``time.monotonic()`` reaches
    ``stop``, which is looked at also when something else comes than a frame. ``tick`` is called for each frame."""
    settings, recording = job.settings, job.recording
    tracked = people.follow()
    began = settings.start or 0.0
    read, black, more = 0, 0, False
    shape: tuple[int, ...] = ()
    writer = TrackletWriter(folder, name, job.camera, settings.every, settings.margin)
    try:
        for frame in frames:
            if frame is not None:
                shape = frame.image.shape
                black += not frame.image.any()
                for track, box, score in tracked(frame):
                    writer.add(track, frame.image, frame.number, began + frame.time, box, score)
                read += 1
                tick()
            if stop is not None and time.monotonic() >= stop:
                more = True
                break
    except KeyboardInterrupt:
        if not recording.is_stream:
            raise
    fingerprint, size = recording.fingerprint, recording.size
    if not recording.is_stream:  # checked last, so that a change during reading is seen
        if recording.has_changed:
            raise StillWrittenError(f"{recording.source}: changed while it was read, so it is still being written")
        if read and black == read:
            raise VideoError(f"{recording.source}: all of its {read} frames are black: expected people to see")
    warnings = people.doubts()
    dropped = writer.drop_short(settings.min_crops)
    crops = writer.crops
    entry = {
        "name": name,
        "source": recording.source,
        "fingerprint": fingerprint,
        "stamp": recording.stamp,
        "size": size,
        "settings": job.asked,
        "frames": read,
        **({"width": shape[1], "height": shape[0]} if shape else {}),
        "black": black,
        "tracklets": len(writer.tracks),
        "dropped": dropped,
        "crops": len(crops),
    }
    return Part(entry, crops, more, warnings=warnings)


def store_part(
    store: IngestStore, folder: Path, part: Part, report: IngestReport, replaces: Entry | None = None
) -> None:
    """Commit a part, whose crops lie in ``folder``, and count it. It replaces ``replaces``, an older entry, if
    given."""
    entry = part.entry
    store.commit(folder, part.crops, entry, replaces)
    report.tracklets += entry["tracklets"]
    report.dropped += entry["dropped"]
    report.crops += entry["crops"]
    report.damaged += part.damaged
    report.warnings += part.warnings
    if replaces and replaces["crops"]:
        report.warnings.append(
            f"{entry['source']}: its earlier tracklets, {replaces['name']}-*, are out of the dataset; galleries that "
            f"have them keep them (`reid gallery forget` deletes them), and `reid enroll` adds {entry['name']}-*"
        )
    camera = entry["settings"]["camera"]
    count_camera(report.cameras.setdefault(camera, CameraReport()), entry, part.crops)


def count_camera(counts: CameraReport, entry: Entry, crops: list[Crop]) -> None:
    """Add one recording to the counts of its camera."""
    sizes = {entry["name"]: (entry["width"], entry["height"])} if crops else {}
    odd = Counter(
        oddity.kind for tracklet in group_tracklets(crops) for oddity in oddities(tracklet, sizes, colours=False)
    )
    counts.recordings += 1
    counts.tracklets += entry["tracklets"]
    counts.dropped += entry["dropped"]
    counts.crops += entry["crops"]
    counts.cut += odd["cut"]
    counts.odd_shape += odd["shape"]
