"""``reid gallery copy`` and ``reid gallery sync``: bring records from one gallery to another."""

from dataclasses import asdict
from pathlib import Path

import click

from reid_toolkit.cli import options
from reid_toolkit.cli.cameras import announcing_fit
from reid_toolkit.cli.console import counted, print_json, progress_bar, warn, warnings_on_log
from reid_toolkit.errors import InputError


@click.command()
@click.argument("source", metavar="A")
@click.argument("target", metavar="B")
@options.allow
@options.json_output
def copy(source: str, target: str, allow: bool, as_json: bool) -> None:
    """Make gallery B an exact copy of gallery A, and compare their counts and checksums. B may be new.

    Records past A's retention are left out, and deleted in B. If it is interrupted, run it again to continue. A and B
    are each a folder, milvus://host:port/name or milvus-lite:///folder.db/name.
    """
    from reid_toolkit.gallery import open_gallery
    from reid_toolkit.gallery.transfer import copy as copy_gallery

    refuse_same(source, target)
    with (
        open_gallery(source, create=False) as held,
        open_gallery(target) as other,
        announcing_fit(other, target),
        warnings_on_log(),
        progress_bar("copy", "records") as on_progress,
    ):
        done = copy_gallery(held, other, on_progress, allow=allow)
    warn_blocked(done.blocked, target)
    if as_json:
        print_json({"source": source, "target": target, **asdict(done)})
        return
    past = f"; {done.past} past the retention of {source} left out" if done.past else ""
    past += f"; {done.removed} deleted that {source} no longer has" if done.removed else ""
    what = "in both they have" if done.blocked or done.past else "both have"
    click.echo(
        f"{target}: {counted(done.count, 'record')}, {done.written} of them new; {what} checksum {done.checksum}{past}"
    )


@click.command()
@click.argument("source", metavar="A")
@click.argument("target", metavar="B")
@options.allow
@options.json_output
def sync(source: str, target: str, allow: bool, as_json: bool) -> None:
    """Send what gallery A, on an edge box, has enrolled and forgotten since the last sync to gallery B, the centre.

    A is a folder. Records past A's retention count as forgotten. B keeps the records of other boxes. Run it as often as
    you like; if it is interrupted, run it again.
    """
    from reid_toolkit.gallery import open_gallery
    from reid_toolkit.gallery.transfer import sync as sync_gallery

    if "://" in source:
        raise InputError(f"{source}: expected a gallery in a folder: use `reid gallery copy` for other galleries")
    refuse_same(source, target)
    # The absolute path, so that the target is known again from another working directory.
    name = target if "://" in target else str(Path(target).resolve())
    # A is opened first, so that B is not created if A is mistyped.
    with open_gallery(source, create=False):
        pass
    with (
        open_gallery(target) as centre,
        announcing_fit(centre, target),
        warnings_on_log(),
        progress_bar("sync", "records") as on_progress,
    ):
        done = sync_gallery(Path(source), centre, name, on_progress, allow=allow)
    warn_blocked(done.blocked, target)
    if done.absent:
        warn(f"{done.absent} records sent before are no longer in {target}: they were forgotten there, or lost")
    if as_json:
        print_json({"source": source, "target": target, **asdict(done)})
        return
    past = f"; {done.past} past the retention of {source} not sent" if done.past else ""
    click.echo(f"{target}: {done.sent} sent, {done.forgotten} forgotten, {done.unchanged} unchanged{past}")


def warn_blocked(count: int, target: str) -> None:
    if count:
        warn(f"left out {counted(count, 'record')} forgotten in {target}: --allow brings them back")


def refuse_same(source: str, target: str) -> None:
    """Raise :class:`InputError` if both are the same gallery."""
    if source == target or ("://" not in source + target and Path(source).resolve() == Path(target).resolve()):
        raise InputError(f"{source}: was given twice: expected two different galleries")
