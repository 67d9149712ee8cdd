"""``reid ingest``: find the people in recordings, and store them as tracklets in a dataset."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reid_toolkit.cli import options, paths, pool_options
from reid_toolkit.cli.console import counted, fail, print_json, printable, progress_bar, warn, warnings_on_log

if TYPE_CHECKING:
    from reid_toolkit.footage.extract import IngestReport


@click.command()
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO...")
@click.option("--out", type=paths.FOLDER_PLACE, required=True, help="The dataset folder to create or add to.")
@options.footage
@click.option(
    "--tracks",
    type=options.FILE,
    help="A file with boxes and tracks of the VIDEO, instead of our detector and tracker.",
)
@click.option(
    "--tracks-format",
    type=click.Choice(["mot", "coco", "cvat", "fiftyone"]),
    help="The format of --tracks. [default: recognised by the file's content]",
)
@click.option(
    "--replace", is_flag=True, help="If a recording's file has changed, read it again and replace its tracklets."
)
@click.option("--skip-bad", is_flag=True, help="Only warn of sources that cannot be read, and exit with status 0.")
@click.option("--seconds", type=options.Number(0, min_open=True), help="Stop reading a stream after so many seconds.")
@pool_options.pool
@options.json_output
def command(
    videos: tuple[str, ...],
    out: Path,
    camera: str | None,
    detector: str,
    detector_weights: Path | None,
    person_label: int | None,
    every: int,
    min_crops: int,
    margin: float,
    start: datetime | None,
    frame_rate: float,
    tracks: Path | None,
    tracks_format: str | None,
    replace: bool,
    skip_bad: bool,
    seconds: float | None,
    workers: int | None,
    ray: str | None,
    worker_cpus: float | None,
    worker_gpus: float | None,
    as_json: bool,
) -> None:
    """Detect and track the people in recordings, and store crops of them in a dataset.

    VIDEO is a video, a folder of videos, a folder of frames, the URL of a stream (rtsp://...) or the number of a
    webcam. Streams and webcams are read until Ctrl-C. Recordings that are already in the dataset are skipped, and read
    again if they have grown. --workers and --ray read several recordings at once. Recordings and OUT may be in object
    storage, such as s3://bucket/recordings (docs/scaling.md).
    """
    refuse_contradictions(tracks, tracks_format)
    from dataclasses import asdict

    from reid_toolkit.errors import VideoError
    from reid_toolkit.footage.ingest import ingest

    pool = pool_options.pool_of(workers, ray, worker_cpus, worker_gpus)
    bad: list[str] = []
    with progress_bar("ingest", "frames") as on_progress, warnings_on_log(), telling_where_it_goes_on():
        report = ingest(
            videos,
            out,
            camera=camera,
            detector=detector,
            detector_weights=detector_weights,
            person_label=person_label,
            tracks=tracks,
            tracks_format=tracks_format,
            every=every,
            min_crops=min_crops,
            margin=margin,
            start=start,
            frame_rate=frame_rate,
            seconds=seconds,
            replace=replace,
            pool=pool,
            bad=bad,
            on_progress=on_progress,
        )
    for warning in [*report.warnings, *report.waiting, *(bad if skip_bad else bad[:-1])]:
        warn(warning)
    if as_json:
        print_json({**asdict(report), "frames_per_second": round(report.frames_per_second, 1)})
    elif report.videos or report.skipped or not bad:
        click.echo(printable(f"{out}: {story(report)}"))
        for name, counts in report.cameras.items() if len(report.cameras) > 1 else ():
            said = (
                f"{counted(counts.tracklets, 'tracklet')}, {counted(counts.crops, 'crop')}, {counts.dropped} too short"
            )
            click.echo(printable(f"  {name}: {said}"))
    if bad and not skip_bad:
        others = "; the others are stored; mend it, or leave it out with --skip-bad"
        raise VideoError(bad[-1] + (others if report.videos or report.skipped else ""))


def refuse_contradictions(tracks: Path | None, tracks_format: str | None) -> None:
    """Raise :class:`click.UsageError` for options that do nothing together."""
    if tracks is None and tracks_format is not None:
        raise click.UsageError("--tracks-format is the format of --tracks: give both")
    context = click.get_current_context()
    for name in ("detector", "detector_weights", "person_label") if tracks is not None else ():
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--tracks replaces the detector: leave out --{name.replace('_', '-')}")


@contextmanager
def telling_where_it_goes_on() -> Iterator[None]:
    """On Ctrl-C, say that the recording in progress is lost and the finished ones are kept."""
    try:
        yield
    except KeyboardInterrupt:
        fail(
            "interrupted; finished recordings are kept: run the same command again to continue; the recording in "
            "progress begins again at its first frame",
            status=130,
        )


def story(report: "IngestReport") -> str:
    """The results in one line."""
    parts = [
        f"{counted(report.tracklets, 'tracklet')}, {counted(report.crops, 'crop')} from "
        f"{counted(report.videos, 'recording')} ({counted(report.frames, 'frame')}, "
        f"{report.frames_per_second:.1f} frames/s)",
        f"{report.dropped} too short were dropped",
        f"{report.skipped} recordings were there before",
    ]
    if report.replaced:
        parts.append(f"{report.replaced} had grown or changed and were read again")
    if report.waiting:
        parts.append(f"{len(report.waiting)} still being written")
    if report.bad:
        parts.append(f"{len(report.bad)} could not be read")
    if report.passed_over:
        parts.append(f"passed over in {'; in '.join(report.passed_over)}")
    return "; ".join(parts)
