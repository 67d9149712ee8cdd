"""``reid gallery``: show and check a gallery, copy it, and delete from it."""

from dataclasses import asdict
from itertools import islice

import click

from reid_toolkit.cli import cameras, options
from reid_toolkit.cli import gallery_delete as forgetting
from reid_toolkit.cli import gallery_policy as keeping
from reid_toolkit.cli import gallery_transfer as copying
from reid_toolkit.cli.console import counted, late_progress_bar, print_json, printable, progress_bar
from reid_toolkit.errors import GalleryError
from reid_toolkit.times import format_span

MOST_NAMES = 20
"""At most so many cameras, sources and tags are listed: a gallery of crops has a source for each crop."""


@click.group()
def command() -> None:
    """Show and check a gallery, copy it, and delete from it."""


for part in (
    cameras.cameras,
    copying.copy,
    copying.sync,
    forgetting.forget,
    forgetting.purge,
    keeping.retention,
    keeping.audit,
):
    command.add_command(part)


@command.command()
@click.argument("gallery")
@options.json_output
def info(gallery: str, as_json: bool) -> None:
    """Show what a gallery holds: records by camera, source and tag, its model, and how good its index is."""
    from reid_toolkit.gallery import open_gallery

    with open_gallery(gallery, create=False) as store:
        held = store.info()
    if as_json:
        print_json(asdict(held))
        return
    size = "" if held.bytes is None else f", {held.bytes / 1e6:.1f} MB"
    click.echo(f"records  {held.count} of width {held.dimension or 'not yet known'}{size}")
    click.echo(printable(f"model    {held.model or 'unknown'}  {held.model_file or ''}".rstrip()))
    click.echo(f"times    {format_span(held.first, held.last) or 'unknown'}")
    if held.index:
        from reid_toolkit.gallery.local.hnsw import RECALL

        settings = ", ".join(f"{name} {value}" for name, value in held.index.items())
        weak = held.index.get("recall_at_10", 1.0) < RECALL
        unused = f"not used, because it finds less than {RECALL:.0%} of the ten nearest; every search is exact ("
        click.echo(f"index    {unused}{settings})" if weak else f"index    {settings}")
    else:
        click.echo("index    none: every search is exact")
    if held.statistics:
        click.echo(f"bias     {cameras.describe_statistics(held.statistics)}")
    else:
        click.echo(f"bias     no camera statistics: `reid gallery cameras {gallery}` says why")
    click.echo(f"keeps    {keeping.describe_retention(held.retention, held.past)}")
    if held.audit:
        click.echo(f"audit    {'on' if held.audit['on'] else 'off'}, {held.audit['lines']} lines")
    for title, counts in (("cameras", held.cameras), ("sources", held.sources), ("tags", held.tags)):
        for number, (name, count) in enumerate(islice(counts.items(), MOST_NAMES)):
            click.echo(f"{'' if number else title:8} {count:8}  {printable(name) or '(no name)'}")
        if len(counts) > MOST_NAMES:
            click.echo(f"{'':8} {'':8}  and {len(counts) - MOST_NAMES} more; --json lists all")


@command.command()
@click.argument("gallery")
@options.wait
@options.json_output
def compact(gallery: str, wait: float, as_json: bool) -> None:
    """Rewrite the files of a gallery without deleted and replaced records, and build its index again.

    If it is interrupted, nothing is lost: run it again, or let `reid enroll` build the index.
    """
    from reid_toolkit.gallery import open_gallery

    with open_gallery(gallery, create=False, wait=wait) as store:
        before = store.info().bytes
        with late_progress_bar("index", "records") as on_progress:
            store.compact(on_progress)
        after, count = store.info().bytes, len(store)
    if as_json:
        print_json({"gallery": gallery, "count": count, "bytes_before": before, "bytes": after})
        return
    sizes = "" if before is None or after is None else f", {before / 1e6:.1f} MB before, {after / 1e6:.1f} MB now"
    click.echo(f"{gallery}: {counted(count, 'record')}{sizes}")


@command.command()
@click.argument("gallery")
@options.json_output
def check(gallery: str, as_json: bool) -> None:
    """Read every record and file of a gallery, and list what is damaged.

    Exit status 1 if something is damaged or missing, except the index. Undamaged records stay usable. Run `reid enroll`
    again to replace damaged records. A damaged index is built again by the next `reid enroll`.
    """
    from reid_toolkit.gallery import open_gallery

    with open_gallery(gallery, create=False) as store, progress_bar("check", "records") as on_progress:
        report = store.check(on_progress)
    if as_json:
        print_json({"gallery": gallery, "sound": report.sound, **asdict(report)})
    else:
        for one in report.damaged:
            who = f"{one.source}, tracklet {one.tracklet}, camera {one.camera}" if one.tracklet else "its name is lost"
            click.echo(printable(f"record {one.id}: {one.why}: {who}"))
        for line in report.pages:
            click.echo(printable(f"file: {line}"))
        for line in report.audit:
            click.echo(printable(f"audit log: {line}"))
        if report.statistics == "damaged":
            click.echo(f"camera statistics: damaged; `reid gallery cameras {gallery} refresh` fits them again")
        anew = ", searches do not use it until `reid enroll` or `reid gallery compact` builds it again"
        index = report.index + anew * (report.index in ("damaged", "stale"))
        click.echo(f"{gallery}: {report.whole} of {report.count} records whole; index: {index}")
    if report.audit and not (report.damaged or report.missing or report.pages):
        raise GalleryError(f"{gallery}: its records are undamaged, but its audit log is not: {report.audit[0]}")
    if report.statistics == "damaged" and not (report.damaged or report.missing or report.pages or report.audit):
        raise GalleryError(
            f"{gallery}: its records are undamaged, but its camera statistics are not: fit them again with "
            f"`reid gallery cameras {gallery} refresh`"
        )
    if not report.sound:
        raise GalleryError(
            f"{gallery}: {len(report.damaged)} damaged and {report.missing} missing records, {len(report.pages)} "
            "faults in the pages of its files: enroll these records again, or restore a copy"
        )
