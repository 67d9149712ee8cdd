"""Recordings to a dataset of tracklets."""

import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from reid_toolkit.datasets.manifest import check_name
from reid_toolkit.errors import InputError, VideoError
from reid_toolkit.files import as_name
from reid_toolkit.footage.dataset_writer import Entry, IngestStore
from reid_toolkit.footage.decoding import DEFAULT_FRAME_RATE
from reid_toolkit.footage.detector import Detector, load_detector
from reid_toolkit.footage.extract import (
    IngestReport,
    Job,
    Settings,
    StillWrittenError,
    ingest_stream,
    is_about,
    read_file,
    store_part,
)
from reid_toolkit.footage.frames import Recording, digest_of
from reid_toolkit.footage.held import Held, moves, replaceable, succeeding
from reid_toolkit.footage.readers import ReaderStart, workplace_of
from reid_toolkit.footage.sources import find_sources
from reid_toolkit.footage.stored_dataset import open_place
from reid_toolkit.footage.track_sources import DetectedTracks, GivenTracks, TrackSource
from reid_toolkit.parallel.pool import Pool
from reid_toolkit.storage import is_address, path_of
from reid_toolkit.times import is_unix_time

BEGINNING = 1 << 20
"""Bytes by which recordings of the same size are compared first."""
T = TypeVar("T")
WAY_OUT = (
    "; the motion detector wants a fixed camera and whole people who walk: for others give --detector torchvision or "
    "the file of another (docs/ingest.md)"
)


def ingest(
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    camera: str | None = None,
    detector: str | Detector = "motion",
    detector_weights: Path | None = None,
    person_label: int | None = None,
    tracks: Path | None = None,
    tracks_format: str | None = None,
    every: int = Settings.every,
    min_crops: int = Settings.min_crops,
    margin: float = Settings.margin,
    start: datetime | None = None,
    frame_rate: float = DEFAULT_FRAME_RATE,
    seconds: float | None = None,
    replace: bool = False,
    pool: Pool | None = None,
    bad: list[str] | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> IngestReport:
    """Add the people of recordings to the dataset folder ``out``, recording by recording.

    A recording that the dataset already has is skipped. A recording that was not finished begins again. If its file has
    grown since, it is read again and replaces what was stored. A file that changes while it is read is left for the
    next call. A recording that cannot be read does not stop the others.

    Args:
        sources: videos, folders of videos, folders of frames, stream URLs, or the number of a webcam. Videos and
            folders may be in object storage; each recording is then copied to a temporary file while it is read.
        out: the dataset's folder, also in object storage; it is made if it is not there.
        camera: name of the camera of all sources; None takes each file's stem.
        detector, detector_weights, person_label: as in :func:`load_detector`.
        tracks, tracks_format: a file with the boxes and tracks of a single recording, as in :class:`GivenTracks`. They
            replace detector and tracker.
        every, min_crops, margin: as in :class:`Settings`.
        start: when a single recording began; its times are absolute then. Without a time zone it is UTC.
        frame_rate: frames a second of a folder of frames.
        seconds: for how long a stream is read; None reads until it ends or KeyboardInterrupt.
        replace: whether a recording whose file changed in another way than growing is read again, too.
        pool: reads several recordings at once, in workers that find the recordings and ``out`` under the same paths.
            None reads one after the other, in this process. Not for streams, ``tracks`` and detectors of your own.
        bad: what could not be read is appended, a sentence each; with None it is raised at the end.
        on_progress: called with (frames done, frames in all or None).

    Raises:
        VideoError: a source cannot be read, and ``bad`` is None. All others are stored.
        InputError: settings contradict each other, or those a recording was ingested with.
        DatasetError: the dataset folder breaks the data contract.
    """
    check_numbers(every, min_crops, margin, frame_rate)
    if camera is not None:
        check_name("camera", camera)
        camera = as_name(camera)
    place = path_of(out) if isinstance(out, str) else out
    found = find_sources([str(source) for source in sources], frame_rate)
    report = IngestReport(bad=found.bad, passed_over=found.passed_over)
    recordings = refuse_repeats(found.recordings, report)
    if not recordings:
        return pass_on(report, bad)
    refuse_unsuited(recordings, camera, start, seconds)
    if pool is not None:
        refuse_pool(recordings, tracks, detector)
    loader = partial(load_tracks, detector, detector_weights, person_label)
    people = loader() if tracks is None else given_tracks(tracks, tracks_format, recordings)
    settings = Settings(people.name, every, min_crops, margin, unix_time(start))
    with open_place(place) as store:
        jobs = [Job(recording, camera or recording.name, settings, camera is not None) for recording in recordings]
        pending = left_to_do(jobs, store, report, replace=replace)
        tick = ticker(report, [job.recording.frame_count for job, _ in pending], on_progress)
        clock = time.perf_counter()
        if pool is None:
            read_all(pending, people, store, report, seconds, tick)
        else:
            read_at_once(pending, loader, pool, store, report, tick)
        report.seconds = time.perf_counter() - clock
    report.warnings += doubts_of(report, out, settings)
    return pass_on(report, bad)


def pass_on(report: IngestReport, bad: list[str] | None) -> IngestReport:
    """The report. What could not be read is appended to ``bad``, or raised if it is None."""
    if bad is not None:
        bad += report.bad
    elif report.bad:
        raise VideoError(first_of(report.bad))
    return report


def load_tracks(detector: str | Detector, weights: Path | None, person_label: int | None) -> DetectedTracks:
    """Load the detector, and give the tracks that come from its boxes."""
    if not isinstance(detector, str):
        return DetectedTracks(detector)
    return DetectedTracks(load_detector(detector, weights, person_label=person_label))


def refuse_pool(recordings: Sequence[Recording], tracks: Path | None, detector: str | Detector) -> None:
    """Raise :class:`InputError` for what several workers cannot read."""
    if tracks is not None or not isinstance(detector, str) or any(recording.is_stream for recording in recordings):
        raise InputError(
            "several workers read several recordings with a detector that is named: expected neither a stream, nor a "
            "file of tracks, nor a detector of your own; leave out the workers"
        )


def ticker(
    report: IngestReport, counts: Sequence[int | None], on_progress: Callable[[int, int | None], None] | None
) -> Callable[[int], None]:
    """Return a function that counts frames that were read. ``counts`` are the frames that the recordings declare."""
    total = None if None in counts else sum(count or 0 for count in counts)

    def tick(frames: int) -> None:
        report.frames += frames
        if on_progress:
            on_progress(report.frames, total)

    tick(0)
    return tick


def given_tracks(tracks: Path, form: str | None, recordings: Sequence[Recording]) -> GivenTracks:
    """Read a file of tracks. Raises :class:`InputError` unless there is a single recorded file for it."""
    streams = [recording for recording in recordings if recording.is_stream]
    if len(recordings) > 1 or streams:
        raise InputError(
            f"{tracks}: tracks given with {len(recordings)} recordings, {len(streams)} of them streams: expected one "
            "recorded file; ingest the others one by one"
        )
    return GivenTracks(tracks, form, recordings[0] if recordings else None)


def check_numbers(every: int, min_crops: int, margin: float, frame_rate: float) -> None:
    """Raise :class:`InputError` for numbers out of range."""
    if every < 1 or min_crops < 1 or not 0 <= margin <= 1 or not 0.001 <= frame_rate <= 1000:
        raise InputError(
            f"every {every}, min_crops {min_crops}, margin {margin}, frame_rate {frame_rate}: expected "
            "every and min_crops from 1, margin 0-1, frame_rate 0.001-1000"
        )


def doubts_of(report: IngestReport, out: str | Path, settings: Settings) -> list[str]:
    """A warning for each camera whose tracklets look wrong."""
    copied, shown = (f"copy {out} into a folder, and ", "FOLDER") if is_address(str(out)) else ("", out)
    return [
        f"camera {name}: {', '.join(doubts)}: {copied}look at them with `reid dataset show {shown} --camera "
        f"{shlex.quote(name)}`" + WAY_OUT * (settings.detector == "motion")
        for name, counts in report.cameras.items()
        if (doubts := counts.doubts)
    ]


def refuse_unsuited(
    recordings: Sequence[Recording], camera: str | None, start: datetime | None, seconds: float | None
) -> None:
    """Raise :class:`InputError` for a stream that is not alone or has no camera, for a start not of one file, and for
    seconds without a stream."""
    streams = [recording for recording in recordings if recording.is_stream]
    if seconds is not None and not streams:
        raise InputError(
            f"seconds given for {recordings[0].source}, which is no stream: files are read to their end; leave out the "
            "seconds"
        )
    if start is not None and (len(recordings) > 1 or streams):
        raise InputError(
            f"start time given with {len(recordings)} recordings, {len(streams)} of them streams: expected "
            "one recorded file; ingest the others one by one"
        )
    if streams and (len(recordings) > 1 or not camera):
        raise InputError(
            f"{streams[0].source}: a stream runs until it is stopped: give it alone, and with a camera name"
        )


def unix_time(start: datetime | None) -> float | None:
    """Unix time in seconds; without a time zone it is UTC. Raises :class:`InputError` for a time that would be taken
    for seconds from the start of the recording."""
    seconds = None if start is None else (start if start.tzinfo else start.replace(tzinfo=UTC)).timestamp()
    if seconds is not None and not is_unix_time(seconds):
        raise InputError(f"start time {start}: expected 1973-03-04 to 5138; is the camera's clock set?")
    return seconds


def left_to_do(
    jobs: Sequence[Job], store: IngestStore, report: IngestReport, *, replace: bool
) -> list[tuple[Job, Entry | None]]:
    """The recordings that the dataset does not have yet, each with the entry that it replaces, if there is one."""
    held, new, there = Held(store), [], {}
    for job in jobs:
        with collecting(report, job.recording):
            entry = held.entry_of(job)
            if entry is None:
                new.append(job)
            else:
                there[entry["name"]] = job.recording
                report.skipped += 1
    left: list[tuple[Job, Entry | None]] = []
    for job in new:
        with collecting(report, job.recording):
            before = held.at_its_place(job.recording)
            if before is None or before["name"] in there:  # what was at this place has another name now
                left.append((job, None))
            else:
                left.append((succeeding(job, before), replaceable(job, before, store, anyway=replace)))
    store.move(moves(there, store.entries, {job.recording.source for job in jobs}))
    return left


def read_all(
    pending: Sequence[tuple[Job, Entry | None]],
    people: TrackSource,
    store: IngestStore,
    report: IngestReport,
    seconds: float | None,
    tick: Callable[[int], None],
) -> None:
    """Read one recording after the other; a stream for ``seconds``, or until it ends."""
    for job, known in pending:
        with collecting(report, job.recording):
            if job.recording.is_stream:
                ingest_stream(job, people, store, seconds, report, partial(tick, 1))
            else:
                name = store.free_name(job.wanted_name)
                with store.staging(name) as folder:
                    part = read_file(job, people, folder, name, partial(tick, 1))
                    store_part(store, folder, part, report, known)
            report.videos += 1
            report.replaced += known is not None


def read_at_once(
    pending: Sequence[tuple[Job, Entry | None]],
    loader: Callable[[], TrackSource],
    pool: Pool,
    store: IngestStore,
    report: IngestReport,
    tick: Callable[[int], None],
) -> None:
    """Read several recordings at once. Each is stored as soon as it was read, so their order in the dataset may
    differ."""
    names = store.free_names([job.wanted_name for job, _ in pending])
    with workplace_of(store.root) as place:
        units = (place.unit(job, name) for (job, _), name in zip(pending, names, strict=True))
        for position, outcome in pool.run(ReaderStart(loader), units, lambda: tick(place.new_frames())):
            job, known = pending[position]
            with collecting(report, job.recording):
                if isinstance(outcome, Exception):
                    raise outcome
                store_part(store, place.folder_of(outcome), outcome.part, report, known)
                report.videos += 1
                report.replaced += known is not None
            tick(place.new_frames())


@contextmanager
def collecting(report: IngestReport, recording: Recording) -> Iterator[None]:
    """Puts an error of one recording into the report, so that the others go on."""
    try:
        yield
    except StillWrittenError as error:
        report.waiting.append(f"{error}: left for the next call")
    except VideoError as error:
        report.bad.append(str(error))
    except OSError as error:
        if not is_about(error, recording):
            raise
        if isinstance(error, FileNotFoundError):
            report.bad.append(f"{recording.source}: gone while it was read")
        else:
            report.bad.append(f"{error.filename}: cannot be read: {error.strerror}")


def first_of(bad: Sequence[str]) -> str:
    """One line for all sources that could not be read."""
    if len(bad) < 2:
        return bad[0]
    return f"{len(bad)} sources cannot be read, the first: {bad[0]}"


def refuse_repeats(recordings: Sequence[Recording], report: IngestReport) -> list[Recording]:
    """Raise :class:`InputError` if two recordings have the same bytes. They are read only if sizes and beginnings are
    the same. Returns the recordings without those that cannot be read; these are in the report then."""
    files = [recording for recording in recordings if not recording.is_stream]
    streams = [recording for recording in recordings if recording.is_stream]
    sized = with_each(files, lambda recording: recording.size, report)
    sizes = Counter(size for _, size in sized)
    alone = [recording for recording, size in sized if sizes[size] < 2]
    alike = [recording for recording, size in sized if sizes[size] > 1]
    begun = with_each(alike, lambda recording: digest_of(recording.files, BEGINNING), report)
    often = Counter(begin for _, begin in begun)
    alone += [recording for recording, begin in begun if often[begin] < 2]
    twins = [recording for recording, begin in begun if often[begin] > 1]
    seen: dict[str, Recording] = {}
    for recording, whole in with_each(twins, lambda recording: recording.fingerprint, report):
        if whole in seen:
            raise InputError(
                f"{recording.source}: the same recording as {seen[whole].source}: expected each once; leave one out"
            )
        seen[whole] = recording
    there = {*streams, *alone, *seen.values()}
    return [recording for recording in recordings if recording in there]


def with_each(
    recordings: Sequence[Recording], read: Callable[[Recording], T], report: IngestReport
) -> list[tuple[Recording, T]]:
    """Each recording with what is read of it. Those that cannot be read are left out, and go into the report."""
    found = []
    for recording in recordings:
        with collecting(report, recording):
            found.append((recording, read(recording)))
    return found
