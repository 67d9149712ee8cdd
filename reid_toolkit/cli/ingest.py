"""``reid ingest``: footage to tracklets."""

from datetime import datetime
from pathlib import Path

import click

from reid_toolkit.cli import options
from reid_toolkit.cli.progress import progress_bar
from reid_toolkit.cli.root import print_json, warn


@click.command()
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO...")
@click.option("--out", type=options.FOLDER, required=True, help="The dataset folder to make or add to.")
@options.footage
@click.option("--seconds", type=options.Number(0, min_open=True), help="Stop reading a stream after this long.")
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
        warn(warning)
    if as_json:
        print_json({**asdict(report), "frames_per_second": round(report.frames_per_second, 1)})
        return
    click.echo(
        f"{out}: {report.tracklets} tracklets, {report.crops} crops from {report.videos} recordings "
        f"({report.frames} frames, {report.frames_per_second:.1f} frames/s); {report.dropped} too short were "
        f"dropped, {report.skipped} recordings were there before"
    )
