"""``reid ingest``: footage to tracklets."""

from datetime import UTC, datetime
from pathlib import Path

import click

from reid_toolkit.cli import options
from reid_toolkit.cli.progress import progress_bar
from reid_toolkit.cli.root import log, print_json, rich_escape


def parse_start(_: click.Context, __: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not ISO 8601, e.g. 2026-11-22T14:30:00+01:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@click.command()
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO...")
@click.option("--out", type=options.FOLDER, required=True, help="The dataset folder to make or add to.")
@click.option("--camera", help="Name of the camera of all these videos. [default: each file's stem]")
@click.option(
    "--detector",
    default="motion",
    show_default=True,
    help="motion (fixed cameras), torchvision, or the path of a YOLOX ONNX file.",
)
@click.option("--detector-weights", type=options.FILE, help="For torchvision: a state dict, instead of a download.")
@click.option(
    "--every",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Keep every K-th crop of a tracklet; the tracker sees every frame.",
)
@click.option(
    "--min-crops",
    type=click.IntRange(1),
    default=4,
    show_default=True,
    help="Drop tracklets with fewer crops.",
)
@click.option(
    "--margin",
    type=click.FloatRange(0, 1),
    default=0.05,
    show_default=True,
    help="Widen boxes on each side by this part of their size.",
)
@click.option("--start", callback=parse_start, help="When the one VIDEO began, ISO 8601; UTC without an offset.")
@click.option(
    "--frame-rate",
    type=click.FloatRange(0, min_open=True),
    default=25.0,
    show_default=True,
    help="Frames a second of folders of frames.",
)
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="Stop reading a stream after this long.")
@options.json_output
def command(
    videos: tuple[str, ...],
    out: Path,
    camera: str | None,
    detector: str,
    detector_weights: Path | None,
    every: int,
    min_crops: int,
    margin: float,
    start: datetime | None,
    frame_rate: float,
    seconds: float | None,
    as_json: bool,
) -> None:
    """Detect, track and cut out the people of recordings.

    VIDEO is a video, a folder of videos, a folder of frames, or the URL of a stream (rtsp://...), which is
    read until Ctrl-C. Run again, it leaves out the recordings that are already in the dataset.
    """
    from dataclasses import asdict

    from reid_toolkit.footage.ingest import ingest

    with progress_bar("ingest", "frames") as on_progress:
        report = ingest(
            videos,
            out,
            camera=camera,
            detector=detector,
            detector_weights=detector_weights,
            every=every,
            min_crops=min_crops,
            margin=margin,
            start=start,
            frame_rate=frame_rate,
            seconds=seconds,
            on_progress=on_progress,
        )
    for warning in report.warnings:
        log.print(f"[yellow]warning:[/] {rich_escape(warning)}", soft_wrap=True)
    if as_json:
        print_json({**asdict(report), "frames_per_second": round(report.frames_per_second, 1)})
        return
    click.echo(
        f"{out}: {report.tracklets} tracklets, {report.crops} crops from {report.videos} recordings "
        f"({report.frames} frames, {report.frames_per_second:.1f} frames/s); {report.dropped} too short were "
        f"dropped, {report.skipped} recordings were there before"
    )
