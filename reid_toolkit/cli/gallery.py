"""``reid gallery``: what is in a gallery, and taking things out of it."""

from dataclasses import asdict
from pathlib import Path

import click

from reid_toolkit.cli import options
from reid_toolkit.cli.root import log, print_json


@click.group()
def command() -> None:
    """Look into a gallery, and delete from it."""


@command.command()
@click.argument("gallery", type=options.ANY_PATH)
@options.json_output
def info(gallery: Path, as_json: bool) -> None:
    """How many records, of which cameras and sources, and of which model."""
    from reid_toolkit.cli.answers import format_span
    from reid_toolkit.gallery import Gallery

    with Gallery.open(gallery, create=False) as store:
        held = store.info()
    if as_json:
        print_json({**asdict(held), "path": str(held.path)})
        return
    click.echo(f"records  {held.count} of width {held.dimension or 'not yet known'}, {held.bytes / 1e6:.1f} MB")
    click.echo(f"model    {held.model or 'unknown'}  {held.model_file or ''}".rstrip())
    click.echo(f"times    {format_span(held.first, held.last) or 'unknown'}")
    for title, counts in (("cameras", held.cameras), ("sources", held.sources)):
        for number, (name, count) in enumerate(counts.items()):
            click.echo(f"{'' if number else title:8} {count:8}  {name or '(no name)'}")


@command.command()
@click.argument("gallery", type=options.ANY_PATH)
@click.option("--tracklet", metavar="ID", help="Records of this tracklet.")
@click.option("--camera", metavar="NAME", help="Records of this camera.")
@click.option("--source", metavar="PATH", help="Records of this dataset folder or image file.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.json_output
def forget(
    gallery: Path, tracklet: str | None, camera: str | None, source: str | None, yes: bool, as_json: bool
) -> None:
    """Delete the records that match all options given, for good: their bytes leave the files too."""
    from reid_toolkit.gallery import Gallery

    # Sources are kept as absolute paths; one that is gone from the disk can still be named.
    source = source if source is None else str(Path(source).resolve())
    with Gallery.open(gallery, create=False) as store:
        count = store.matching(tracklet, camera, source)
        if count and not yes and not click.confirm(f"Delete {count} records for good?", err=True):
            log.print("nothing was deleted")
            return
        gone = store.forget(tracklet, camera, source)
        left = len(store)
    if as_json:
        print_json({"gallery": str(gallery), "forgotten": gone, "count": left})
        return
    click.echo(f"{gallery}: {gone} records forgotten, {left} left")
