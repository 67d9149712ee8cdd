"""``reid dataset export``: write a dataset in the formats of other programs."""

from pathlib import Path

import click

from reid_toolkit.cli.console import counted, print_json, printable, warn
from reid_toolkit.cli.options import FILE, FOLDER, json_output


@click.command()
@click.argument("dataset", type=FOLDER)
@click.option(
    "--format",
    "form",
    type=click.Choice(["mot", "coco", "cvat", "fiftyone", "market"]),
    required=True,
    help="mot, coco, cvat and fiftyone: boxes and tracks, a file for each recording. market: crops in Market-1501 "
    "folders.",
)
@click.option("--out", type=FOLDER, required=True, help="The new folder to write.")
@click.option(
    "--identities", type=FILE, help="A CSV with the columns tracklet,identity. [default: identities of the manifest]"
)
@click.option(
    "--part",
    type=click.Choice(["train", "test"]),
    help="For market: write the crops as training images, or as queries and gallery.  [default: train]",
)
@json_output
def export(dataset: Path, form: str, out: Path, identities: Path | None, part: str | None, as_json: bool) -> None:
    """Write the boxes and tracks of DATASET, or its crops, for other programs.

    `reid ingest --tracks` reads the files of tracks again, for example after they were corrected in CVAT.
    """
    if part is not None and form != "market":
        raise click.UsageError("--part is for --format market")
    from reid_toolkit.datasets import open_dataset
    from reid_toolkit.datasets.dataset import with_identities
    from reid_toolkit.datasets.manifest import read_identities

    held = open_dataset(dataset)
    if identities is not None:
        (held,) = with_identities([held], read_identities(identities))
    if form == "market":
        from reid_toolkit.exchange.market import write_market

        made = write_market(held, out, "test" if part == "test" else "train")
        if made.unknown:
            warn(f"{made.unknown} of {len(held.tracklets)} tracklets have no identity: each is a person of its own")
        if as_json:
            about = {"people": made.people, "unknown": made.unknown, "cameras": made.cameras}
            print_json({"out": str(out), "format": form, "images": made.images, **about})
            return
        images = ", ".join(f"{counted(count, 'image')} in {name}" for name, count in made.images.items())
        people = "1 person" if made.people == 1 else f"{made.people} people"
        click.echo(printable(f"{out}: {images}, of {people} in {counted(len(made.cameras), 'camera')}"))
        return
    from reid_toolkit.exchange.outgoing import write_tracks
    from reid_toolkit.footage.dataset_writer import frame_counts, frame_sizes

    done = write_tracks(held, form, out, frame_sizes(dataset), frame_counts(dataset))
    if as_json:
        files = [str(path) for path in done.files]
        print_json({"out": str(out), "format": form, "files": files, "tracks": done.tracks, "boxes": done.boxes})
        return
    said = f"{counted(len(done.files), 'file')}, {counted(done.tracks, 'track')}"
    click.echo(printable(f"{out}: {said}, {done.boxes} boxes"))
