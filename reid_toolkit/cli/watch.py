"""``reid watch``: cameras into a gallery while they run."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reid_toolkit.cli import options
from reid_toolkit.cli.cameras import announcing_fit
from reid_toolkit.cli.console import counted, log, print_json, printable, rich_escape, warn, warnings_on_log
from reid_toolkit.cli.event_options import announcing, event_counts, event_options, refuse_lost_events
from reid_toolkit.cli.recognition import Wanted, check_recognition, recognising, recognition_options
from reid_toolkit.cli.watch_output import describe, describe_camera, summary, without_frames
from reid_toolkit.errors import GalleryError, InputError
from reid_toolkit.files import as_name

if TYPE_CHECKING:
    from reid_toolkit.footage.frames import Recording
    from reid_toolkit.live.announcer import Announcer
    from reid_toolkit.live.report import WatchReport

REDRAW_SECONDS, LINE_SECONDS = 0.5, 60.0
"""Between two status lines: one that is redrawn on a terminal, and lines in a log."""


@click.command()
@click.argument("videos", metavar="VIDEO|URL...", nargs=-1, required=True)
@options.model_option
@options.gallery_option
@click.option(
    "--camera",
    "names",
    multiple=True,
    metavar="NAME",
    help="Name of the camera; repeat it for several, in the order of the videos. [default: the file's name without "
    "extension]",
)
@options.together(options.DETECTING)
@click.option(
    "--start",
    callback=options.parse_start,
    help="When the recordings began, in ISO 8601; not for streams. A time without an offset is in the zone "
    "REID_TIMEZONE, or in UTC.",
)
@options.FRAME_RATE
@click.option("--loop", "loops", type=click.IntRange(1), default=1, show_default=True, help="Read a file N times over.")
@click.option("--seconds", type=options.Number(0, min_open=True), help="Stop after this long.")
@click.option("--cores", type=click.IntRange(1), help="Stay within this many cores. [default: all]")
@click.option("--quality", is_flag=True, help="Weigh a tracklet's crops by sharpness and size.")
@options.thumbnails
@event_options
@recognition_options
@options.allow
@options.wait
@options.provider
@options.strict
@options.json_output
def command(
    videos: tuple[str, ...],
    model: Path,
    gallery: str,
    names: tuple[str, ...],
    detector: str,
    detector_weights: Path | None,
    person_label: int | None,
    every: int,
    min_crops: int,
    margin: float,
    start: datetime | None,
    frame_rate: float,
    seconds: float | None,
    loops: int,
    cores: int | None,
    quality: bool,
    thumbnails: bool,
    events: tuple[str, ...],
    events_queue: Path | None,
    left_after: float | None,
    seen_every: float | None,
    people: bool | None,
    alerts: tuple[str, ...],
    reason: str | None,
    a_day: float | None,
    allow: bool,
    wait: float,
    providers: tuple[str, ...],
    strict: bool,
    as_json: bool,
) -> None:
    """Detect, track and embed the people before cameras, and enroll each when the tracklet ends.

    VIDEO is a file, a folder of frames, the URL of a stream or the number of a webcam. Several are watched at once. Of
    a stream (rtsp://...) or a webcam, frames are dropped and counted rather than seen late, and it is opened again when
    it breaks. Ctrl-C enrolls whoever is in view, and ends. A file is read frame by frame to its end.
    """
    wanted = Wanted(people, alerts, reason, a_day)
    check_recognition(events, wanted)
    if cores:
        from reid_toolkit.live.cores import limit_cores

        limit_cores(cores)
    from reid_toolkit.footage.detector import load_detectors
    from reid_toolkit.footage.extract import Settings
    from reid_toolkit.gallery import open_gallery
    from reid_toolkit.live.watch import Camera, watch_cameras
    from reid_toolkit.runtime import Embedder

    recordings = open_cameras(videos, names, frame_rate)
    detectors = load_detectors(len(recordings), detector, detector_weights, cores, person_label)
    cameras = [Camera(*named, found) for named, found in zip(recordings.items(), detectors, strict=True)]
    began = None if start is None else start.timestamp()
    settings = Settings(detectors[0].name, every, min_crops, margin, began)
    with warnings_on_log():
        embedder = Embedder(model, threads=cores, providers=providers or None, strict=strict)
    with (
        stopped_by_signals() as stop,
        warnings_on_log(),
        announcing(events, events_queue, left_after, seen_every, as_json) as announcer,
        open_gallery(gallery, embedder.dimension, embedder.fingerprint, wait=wait) as store,
        announcing_fit(store, gallery),
        recognising(announcer, store, gallery, embedder, list(recordings), wanted),
        status_line() as on_status,
    ):
        store.remember_model_file(model.resolve())
        report = watch_cameras(
            cameras,
            embedder,
            store,
            settings,
            by_quality=quality,
            thumbnails=thumbnails,
            allow=allow,
            loops=loops,
            seconds=seconds,
            stop=stop,
            announcer=announcer,
            on_status=on_status,
        )
    show(report, gallery, as_json, announcer)


def open_cameras(videos: Sequence[str], names: Sequence[str], frame_rate: float) -> "dict[str, Recording]":
    """Open the videos. Returns them by the names of their cameras, in order.

    Raises :class:`InputError` if they cannot be opened (:func:`open_videos`), if one has no name, or if the names do
    not fit the videos.
    """
    from reid_toolkit.live.opening import open_videos
    from reid_toolkit.live.watch import refuse_same_names

    if names and len(names) != len(videos):
        raise InputError(
            f"{counted(len(videos), 'video')}, but --camera is given {counted(len(names), 'time')}: give it once for "
            "each video, in the same order"
        )
    opened = open_videos(videos, frame_rate)
    found = []
    for recording, name in zip(opened, names or [""] * len(opened), strict=True):
        if recording.is_stream and not name:
            raise InputError(f"{recording.source}: a stream needs the name of its camera: give it with --camera")
        found.append(as_name(name or recording.name))
    refuse_same_names(found)
    return dict(zip(found, opened, strict=True))


def show(report: "WatchReport", gallery: str, as_json: bool, announcer: "Announcer | None") -> None:
    """Print the counts. Raises :class:`GalleryError` if tracklets are lost, :class:`ReidError` if events are."""
    for camera in report.cameras:
        if not camera.tally.frames:
            warn(f"{camera.source}: not one frame came")
    single = len(report.cameras) == 1
    if as_json:
        source = {"source": report.cameras[0].source} if single else {}
        print_json({**source, "gallery": gallery, **summary(report), **event_counts(announcer)})
    else:
        on_stderr = announcer is not None and any(sink.name == "-" for sink in announcer.sinks)  # stdout has events
        for camera in () if single else report.cameras:
            click.echo(f"{printable(camera.camera)}: {describe_camera(camera)}", err=on_stderr)
        click.echo(f"{gallery}: {describe(report)}", err=on_stderr)
    if report.tally.lost:
        raise GalleryError(
            f"{gallery}: {report.tally.lost} tracklets are lost, because it could not be written for too long; "
            "the others are stored; a file can be watched again when that is mended"
        )
    refuse_lost_events(announcer)


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C, SIGTERM or SIGHUP sets; a second Ctrl-C or SIGTERM interrupts as ever."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # Not under nohup. It never interrupts: of a terminal that is closed it comes from the shell and from the system.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        before[signal.SIGHUP] = signal.getsignal(signal.SIGHUP)

    def set_stop(*_: object) -> None:
        stop.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)

    for number in before:
        signal.signal(number, set_stop)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def status_line() -> Iterator[Callable[["WatchReport"], None]]:
    """A callback that shows how it goes: a line that is redrawn on a terminal, else a line a minute, which also names
    the cameras that gave nothing in it."""
    with log.status("waiting for frames") as line:
        last, before = time.monotonic(), None

        def on_status(report: "WatchReport") -> None:
            nonlocal last, before
            now = time.monotonic()
            if log.is_terminal and now - last >= REDRAW_SECONDS:
                line.update(describe(report))
                last = now
            elif now - last >= LINE_SECONDS:
                log.print(rich_escape(describe(report) + without_frames(report, before)), soft_wrap=True)
                last, before = now, report

        yield on_status
