"""Recordings to a dataset of tracklets."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from reid_toolkit.errors import InputError, VideoError
from reid_toolkit.footage.detector import Detector, load_detector
from reid_toolkit.footage.extract import IngestReport, Settings, Work, ingest_file, ingest_stream
from reid_toolkit.footage.frames import DEFAULT_FRAME_RATE, Recording, open_recordings
from reid_toolkit.footage.store import open_store


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
    frame_rate: float = DEFAULT_FRAME_RATE,
    seconds: float | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> IngestReport:
    """Add the people of recordings to the dataset folder ``out``, recording by recording.

    ``sources`` are videos, folders of videos, folders of frames (``frame_rate`` frames a second), or stream
    URLs. ``camera`` names the camera of them all; without it each file's stem does. ``start``, of a single
    recording, is when it began (naive means UTC), and makes its times absolute; a stream's always are.
    A stream is read for ``seconds``, or until it ends or KeyboardInterrupt. The rest is in :class:`Settings`.

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
    refuse_repeats(recordings)
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
    settings = Settings(detector.name, every, min_crops, margin, began)
    with open_store(Path(out)) as store:
        report = IngestReport()
        total: int | None = None

        def tick() -> None:
            if on_progress:
                on_progress(report.frames, total)

        asked = [Work(r, camera or r.name, settings, store, detector, report, tick) for r in recordings]
        pending = [work for work in asked if not already_stored(work)]
        report.skipped = len(asked) - len(pending)
        counts = [work.recording.frame_count for work in pending]
        if None not in counts:
            total = sum(count or 0 for count in counts)
        clock = time.perf_counter()
        tick()
        for work in pending:
            if work.recording.is_stream:
                ingest_stream(work, seconds)
            else:
                ingest_file(work)
            report.videos += 1
            report.seconds = time.perf_counter() - clock
    return report


def refuse_repeats(recordings: Sequence[Recording]) -> None:
    seen: dict[str, Recording] = {}
    for recording in recordings:
        if recording.fingerprint and recording.fingerprint in seen:
            raise InputError(
                f"{recording.source}: the same recording as {seen[recording.fingerprint].source}: expected "
                "each once; leave one out"
            )
        seen[recording.fingerprint] = recording


def already_stored(work: Work) -> bool:
    """Whether the dataset has this recording; raises when it has it otherwise than is asked for now."""
    recording, store = work.recording, work.store
    if recording.is_stream:
        return False
    for entry in store.entries:
        if entry["fingerprint"] == recording.fingerprint:
            then, now = entry["settings"], work.asked
            other = [f"{key} was {then.get(key)!r}, is {now[key]!r}" for key in now if then.get(key) != now[key]]
            if other:
                raise InputError(
                    f"{recording.source}: already in {store.root} with other settings ({'; '.join(other)}): "
                    "use those, or another --out"
                )
            return True
        if entry["source"] == recording.source:
            raise VideoError(
                f"{recording.source}: has changed since it was ingested into {store.root}: give the new "
                "recording another name, or use another --out"
            )
    return False
