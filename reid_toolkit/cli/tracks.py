"""``reid tracks``: compare a tracker's output with true tracks."""

from pathlib import Path

import click

from reid_toolkit.cli.console import print_json, warn
from reid_toolkit.cli.options import FILE, json_output
from reid_toolkit.errors import InputError

FORMAT = click.Choice(["mot", "coco", "cvat", "fiftyone"])


@click.command()
@click.argument("truth", type=FILE)
@click.argument("result", type=FILE)
@click.option("--truth-format", type=FORMAT, help="The format of TRUTH. [default: recognised by the file's content]")
@click.option("--result-format", type=FORMAT, help="The format of RESULT. [default: recognised by the file's content]")
@json_output
def command(truth: Path, result: Path, truth_format: str | None, result_format: str | None, as_json: bool) -> None:
    """Compare the tracks of RESULT with the true tracks of TRUTH, of one recording: HOTA, MOTA and IDF1.

    Both are MOT, COCO, CVAT or FiftyOne files, as `reid dataset export` writes them. Of a COCO file with several
    videos, the one that is called like the file is taken.
    """
    from dataclasses import asdict

    from reid_toolkit.exchange.reading import read_tracks
    from reid_toolkit.footage.track_metrics import score_tracks

    read = []
    for path, form in ((truth, truth_format), (result, result_format)):
        if not path.is_file():
            raise InputError(f"{path}: no such file: expected a file of boxes and tracks")
        _, tracks = read_tracks(path, path.read_bytes(), form, recording=path.stem)
        read.append(tracks)
        if tracks.others:
            warn(f"{path}: {tracks.others} boxes of other classes, or marked to be ignored, are left out")
    scores = score_tracks(*read)
    if as_json:
        print_json(asdict(scores))
        return
    click.echo(f"HOTA {scores.hota:.1%} (detection {scores.detection:.1%}, association {scores.association:.1%})")
    click.echo(f"MOTA {scores.mota:.1%}, IDF1 {scores.idf1:.1%}")
    click.echo(
        f"{scores.misses:,} of {scores.true_boxes:,} true boxes were missed, {scores.false_boxes:,} of "
        f"{scores.boxes:,} boxes are false, {scores.switches} switches; {scores.true_tracks} true tracks, "
        f"{scores.tracks} found"
    )
