"""``reid gallery forget`` and ``reid gallery purge``: records out of a gallery, for good."""

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reid_toolkit.cli import options
from reid_toolkit.cli.console import OnProgress, confirm, counted, late_progress_bar, log, print_json, warn, yes_option
from reid_toolkit.cli.options import parse_moment
from reid_toolkit.cli.paths import PAGE
from reid_toolkit.errors import GalleryError, InputError, did_you_mean
from reid_toolkit.times import format_moment

if TYPE_CHECKING:
    from reid_toolkit.gallery import GalleryStore
    from reid_toolkit.search import Answer, Search


@click.command()
@click.argument("gallery")
@click.option("--tracklet", type=options.NAME, metavar="ID", help="Records of this tracklet.")
@click.option("--camera", type=options.NAME, metavar="NAME", help="Records of this camera.")
@click.option("--source", metavar="PATH", callback=options.parse_source, help="Records of this dataset folder, image "
              "or video file, or stream.")  # fmt: skip
@click.option("--like", type=options.ANY_PATH, metavar="IMAGE", help="Records that look like this image, or folder of "
              "crops of one person; with --within or --top-k.")  # fmt: skip
@click.option("--within", type=options.Number(0, 2), metavar="DISTANCE", help="With --like: those as near as this.")
@click.option("--top-k", type=click.IntRange(1), metavar="N", help="With --like: the N nearest.")
@options.query_camera
@options.camera_statistics
@click.option(
    "--model", type=options.MODEL, help="With --like: the ONNX model. [default: the one it was enrolled with]"
)
@click.option("--html", type=PAGE, help="With --like: write what would be deleted as a page of pictures.")
@yes_option
@options.wait
@options.json_output
def forget(
    gallery: str,
    tracklet: str | None,
    camera: str | None,
    source: str | None,
    like: Path | None,
    within: float | None,
    top_k: int | None,
    query_camera: str | None,
    camera_statistics: bool,
    model: Path | None,
    html: Path | None,
    yes: bool,
    wait: float,
    as_json: bool,
) -> None:
    """Delete the records that match all given options, for good: their bytes leave the files too.

    They go on the gallery's block list, so that `reid enroll`, `watch`, `copy` and `sync` do not bring them back.
    `reid enroll --allow` lifts that.

    With --like, the records that would be deleted are shown first, with their distances to the image.
    """
    from reid_toolkit.gallery import open_gallery
    from reid_toolkit.search import Search

    if like is None and any(option is not None for option in (within, top_k, query_camera, model, html)):
        raise click.UsageError("--within, --top-k, --query-camera, --model and --html go with --like IMAGE")
    if like is not None and (within is None) == (top_k is None):
        raise click.UsageError("--like IMAGE needs --within DISTANCE or --top-k N, and not both")
    if like is not None and tracklet is not None:
        raise click.UsageError("--like IMAGE and --tracklet ID: expected one of both; --camera and --source go with it")
    if all(option is None for option in (tracklet, camera, source, like)):
        raise InputError("no records were chosen: give --tracklet, --camera, --source or --like")
    with open_gallery(gallery, create=False, wait=wait) as store:
        if like is None:
            chosen = selected(store, tracklet, camera, source)
        else:
            search = Search(store, gallery, model, camera_statistics)
            answers = alike(search, like, camera, source, within, top_k, html, query_camera)
            chosen = answered(search, answers, query_camera, quiet=as_json and yes)
        gone = erase(store, chosen.count, "", yes, chosen.delete)
        left = len(store)
        if not chosen.count and like is None and not chosen.again:
            raise InputError(f"{gallery}: {nothing_of(store, tracklet, camera, source)}: nothing to delete")
    if gone is None:
        return
    if as_json:
        print_json({"gallery": gallery, "forgotten": gone, "count": left, **chosen.shown})
        return
    click.echo(f"{gallery}: {counted(gone, 'record')} forgotten, {left} left")


@dataclass(frozen=True)
class Chosen:
    """Records to forget."""

    count: int
    delete: Callable[[OnProgress], int]
    """Puts them on the block list and deletes them; returns how many there were."""
    shown: dict[str, object] = field(default_factory=dict)
    """What the JSON says of them."""
    again: bool = False
    """Whether nothing is left of their source, which was forgotten before, alone or with a folder above it."""


def selected(store: "GalleryStore", tracklet: str | None, camera: str | None, source: str | None) -> Chosen:
    """The records of this tracklet, camera and source, as far as these are given."""
    from reid_toolkit.gallery.types import Selection
    from reid_toolkit.records import Record

    whole = [source] if source is not None and (tracklet, camera) == (None, None) else []

    def delete(on_progress: OnProgress) -> int:
        # Blocked first: if this is killed in between, nobody was deleted who could come back.
        store.block_list.add(store.keys(Selection(tracklet, camera, source)), whole)
        return store.forget(tracklet, camera, source, on_progress=on_progress)

    count = store.matching(tracklet, camera, source)
    again = not count and any(store.block_list.has([Record("", "", source=one) for one in whole]))
    if again:  # what was allowed since, and purged, must not come back
        store.block_list.add(sources=whole)
    return Chosen(count, delete, again=again)


def answered(search: "Search", answers: "list[Answer]", query_camera: str | None, *, quiet: bool) -> Chosen:
    """The records that a search by picture answered, after they were shown, unless ``quiet``."""
    from reid_toolkit.gallery.types import Comparison
    from reid_toolkit.search.documents import as_list

    store = search.store
    if hidden := store.info().past:
        warn(
            f"{hidden} records are past the retention of {search.where}, so no search looks at them, nor did this: "
            "`reid gallery purge` deletes them"
        )
    if not quiet:
        show(answers)

    def delete(on_progress: OnProgress) -> int:
        records = [answer.match.record for answer in answers]
        store.block_list.add(records)
        gone = store.delete_records(records)
        store.compact(on_progress)
        return gone

    compared = store.statistics_version(Comparison([query_camera], search.camera_statistics)) or None
    return Chosen(len(answers), delete, {"matches": as_list(answers), "camera_statistics": compared})


def nothing_of(store: "GalleryStore", tracklet: str | None, camera: str | None, source: str | None) -> str:
    """The words for a selection without a record, with the camera name that was probably meant."""
    words = (("tracklet", tracklet), ("camera", camera), ("source", source))
    chosen = " and ".join(f"{word} {name!r}" for word, name in words if name is not None)
    cameras = store.info().cameras
    near = did_you_mean(camera, cameras) if camera is not None and camera not in cameras else ""
    return f"nothing in it is of {chosen}{near}"


@click.command()
@click.argument("gallery")
@click.option(
    "--older-than",
    "before",
    callback=parse_moment,
    metavar="AGE|TIME",
    help="90m, 12h, 30d, 4w, or ISO 8601. [default: the gallery's retention]",
)
@click.option("--camera", type=options.NAME, metavar="NAME", help="Only records of this camera.")
@click.option("--source", metavar="PATH", callback=options.parse_source, help="Only records of this dataset folder, "
              "image or video file, or stream.")  # fmt: skip
@click.option("--keep-undated", is_flag=True, help="Leave records whose times are no dates, whenever enrolled.")
@yes_option
@options.wait
@options.json_output
def purge(
    gallery: str,
    before: float | None,
    camera: str | None,
    source: str | None,
    keep_undated: bool,
    yes: bool,
    wait: float,
    as_json: bool,
) -> None:
    """Delete the records that are older, for good: their bytes leave the files too.

    A record is as old as its end, the last sight of the person; where that is no date, as in a recording that counts
    from its own beginning, as old as its enrolment. None is younger than its enrolment.
    """
    import time

    from reid_toolkit.gallery import open_gallery

    with open_gallery(gallery, create=False, wait=wait) as store:
        if before is None:
            kept = store.retention
            if kept is None:
                raise GalleryError(f"{gallery}: has no retention to go by: give --older-than, such as 30d")
            before = time.time() - kept
        dated = store.matching(None, camera, source, before=before, keep_undated=True)
        count = dated if keep_undated else store.matching(None, camera, source, before=before)
        undated = f" ({count - dated} without a date)" if count > dated else ""

        def delete(on_progress: OnProgress) -> int:
            return store.forget(None, camera, source, before=before, keep_undated=keep_undated, on_progress=on_progress)

        when = f", last seen or enrolled before {format_moment(before, to='minutes')}{undated}"
        gone = erase(store, count, when, yes, delete)
        left = len(store)
    if gone is None:
        return
    if as_json:
        print_json({"gallery": gallery, "purged": gone, "undated": count - dated, "before": before, "count": left})
        return
    click.echo(f"{gallery}: {counted(gone, 'record')} purged, {left} left")


def erase(store: "GalleryStore", count: int, which: str, yes: bool, delete: Callable[[OnProgress], int]) -> int | None:
    """Ask, unless nothing is to be deleted, and delete; how many records, or None when the answer is no.

    What was deleted before leaves the files in any case: by a process that was killed, or that only deleted.
    """
    if count and not yes and not confirm(f"Delete {count} {'record' if count == 1 else 'records'} for good{which}?"):
        log.print("nothing was deleted")
        return None
    with late_progress_bar("index", "records") as on_progress:
        if count:
            return delete(on_progress)
        erase_leftover(store, on_progress)
    return 0


def erase_leftover(store: "GalleryStore", on_progress: OnProgress) -> None:
    """Finish what a process that was killed, or that only deleted, has left in the files."""
    if store.leftover():
        store.compact(on_progress)
        log.print("what was deleted before was still in files of the gallery, and is gone from them")


def alike(
    search: "Search",
    like: Path,
    camera: str | None,
    source: str | None,
    within: float | None,
    top_k: int | None,
    html: Path | None,
    query_camera: str | None,
) -> "list[Answer]":
    """The records that look like an image: the ``top_k`` nearest, or all at a distance of ``within`` at most."""
    from reid_toolkit.cli.search import hint_camera
    from reid_toolkit.cli.search_output import write_sheet
    from reid_toolkit.gallery import Filter
    from reid_toolkit.search import Answer, Query

    search.check_names([] if query_camera is None else [query_camera])
    query = Query.of(like)
    known_camera = query_camera or query.camera
    statistics = search.statistics()
    if statistics and not statistics.knows(known_camera):
        hint_camera(known_camera)
    among = Filter(None if camera is None else [camera], sources=None if source is None else [source])
    answers = [Answer(match, None, None) for match in search.nearest(query, top_k, within, among, query_camera)]
    if html:
        write_sheet(html, query, answers, None, camera_statistics=statistics is not None)
        log.print(f"wrote {html}", markup=False, soft_wrap=True)
    return answers


def show(answers: "list[Answer]") -> None:
    """The table of a search, on stderr: stdout is for what was done."""
    from reid_toolkit.cli.search_output import show_table

    with redirect_stdout(sys.stderr):
        if answers:
            show_table(answers, None)
        else:
            click.echo("no record is that near")
