"""``reid watch``: a camera into a gallery while it runs."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reid_toolkit.cli import options
from reid_toolkit.cli.cameras import announcing_fit
from reid_toolkit.cli.console import counted, log, print_json, warn, warnings_on_log
from reid_toolkit.errors import GalleryError, InputError
from reid_toolkit.files import as_name

if TYPE_CHECKING:
    from reid_toolkit.live.report import WatchReport

REDRAW_SECONDS, LINE_SECONDS = 0.5, 60.0
"""Between two status lines: one that is redrawn on a terminal, and lines in a log."""


@click.command()
@click.argument("video", metavar="VIDEO|URL")
@options.model_option
@options.gallery_option
@options.footage
@click.option("--loop", "loops", type=click.IntRange(1), default=1, show_default=True, help="Read a file N times over.")
@click.option("--seconds", type=options.Number(0, min_open=True), help="Stop after this long.")
@click.option("--cores", type=click.IntRange(1), help="Stay within this many cores. [default: all]")
@click.option("--quality", is_flag=True, help="Weigh a tracklet's crops by sharpness and size.")
@options.thumbnails
@options.allow
@options.wait
@options.provider
@options.strict
@options.json_output
def command(
    video: str,
    model: Path,
    gallery: str,
    camera: str | None,
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
    allow: bool,
    wait: float,
    providers: tuple[str, ...],
    strict: bool,
    as_json: bool,
) -> None:
    """Detect, track and embed the people before a camera, and enroll each when the tracklet ends.

    VIDEO is a file, a folder of frames, the URL of a stream or the number of a webcam. Of a stream (rtsp://...) or a
    webcam, frames are dropped and counted rather than seen late, and it is opened again when it
    breaks. Ctrl-C enrolls whoever is in view, and ends. A file is read frame by frame to its end.
    """
    if cores:
        from reid_toolkit.live.cores import limit_cores

        limit_cores(cores)
    from reid_toolkit.footage.detector import load_detector
    from reid_toolkit.footage.extract import Settings
    from reid_toolkit.footage.sources import open_recordings
    from reid_toolkit.gallery import open_gallery
    from reid_toolkit.live.watch import watch
    from reid_toolkit.runtime import Embedder

    recordings = open_recordings([video], frame_rate)
    if len(recordings) > 1:
        raise InputError(
            f"{video}: has {len(recordings)} videos: expected one recording or one stream; watch each alone"
        )
    (recording,) = recordings
    if recording.is_stream and not camera:
        raise InputError(f"{recording.source}: a stream needs the name of its camera: give it with --camera")
    people = load_detector(detector, detector_weights, cores, person_label)
    settings = Settings(people.name, every, min_crops, margin, None if start is None else start.timestamp())
    with warnings_on_log():
        embedder = Embedder(model, threads=cores, providers=providers or None, strict=strict)
    with (
        stopped_by_signals() as stop,
        open_gallery(gallery, embedder.dimension, embedder.fingerprint, wait=wait) as store,
        announcing_fit(store, gallery),
        warnings_on_log(),
        status_line() as on_status,
    ):
        store.remember_model_file(model.resolve())
        report = watch(
            recording,
            as_name(camera or recording.name),
            embedder,
            store,
            people,
            settings,
            by_quality=quality,
            thumbnails=thumbnails,
            allow=allow,
            loops=loops,
            seconds=seconds,
            stop=stop,
            on_status=on_status,
        )
    if not report.tally.frames:
        warn(f"{recording.source}: not one frame came")
    if as_json:
        print_json({"source": recording.source, "gallery": gallery, **summary(report)})
    else:
        click.echo(f"{gallery}: {describe(report)}")
    if report.tally.lost:
        raise GalleryError(
            f"{gallery}: {report.tally.lost} tracklets are lost, because it could not be written for too long; "
            "the others are stored; a file can be watched again when that is mended"
        )


def summary(report: "WatchReport") -> dict[str, float]:
    """All the numbers, flat."""
    from dataclasses import asdict

    return {
        **asdict(report.tally),
        "dropped": report.dropped,
        "reconnects": report.reconnects,
        "damaged": report.damaged,
        "seconds": round(report.seconds, 3),
        "cpu_seconds": round(report.cpu_seconds, 3),
        "frames_per_second": round(report.frames_per_second, 2),
        "cores": round(report.cores, 3),
    }


def describe(report: "WatchReport") -> str:
    """The same as one line for people."""
    tally = report.tally
    again = f", {report.reconnects} reconnects" if report.reconnects else ""
    again += f", {report.damaged} damaged pieces passed over" if report.damaged else ""
    blocked = f", {tally.blocked} left out that were forgotten" if tally.blocked else ""
    blocked += f", {tally.lost} lost" if tally.lost else ""
    replaced = f", {tally.replaced} of an earlier watch deleted" if tally.replaced else ""
    expired = f", {tally.expired} past the retention deleted" if tally.expired else ""
    return (
        f"{counted(tally.frames, 'frame')}, {report.dropped} dropped{again}, {counted(tally.tracklets, 'tracklet')}, "
        f"{tally.enrolled} enrolled{blocked}{replaced}{expired}, {report.frames_per_second:.1f} frames/s on "
        f"{report.cores:.2f} cores"
    )


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
    """A callback that shows how it goes: a line that is redrawn on a terminal, else a line a minute."""
    with log.status("waiting for frames") as line:
        last = time.monotonic()

        def on_status(report: "WatchReport") -> None:
            nonlocal last
            now = time.monotonic()
            if log.is_terminal and now - last >= REDRAW_SECONDS:
                line.update(describe(report))
                last = now
            elif now - last >= LINE_SECONDS:
                log.print(describe(report), soft_wrap=True)
                last = now

        yield on_status
