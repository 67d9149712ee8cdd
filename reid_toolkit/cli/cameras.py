"""``reid gallery cameras``: the camera statistics of a gallery."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from reid_toolkit.cli import options
from reid_toolkit.cli.console import late_progress_bar, log, print_json
from reid_toolkit.cli.tables import print_table
from reid_toolkit.times import format_span

if TYPE_CHECKING:
    from reid_toolkit.gallery import GalleryStore

ACTIONS = SHOW, REFRESH = "show", "refresh"


@click.command()
@click.argument("gallery")
@click.argument("action", default=SHOW, metavar=f"[{SHOW}|{REFRESH}]")
@click.option("--if-due", is_flag=True, help="Refresh only what has changed so much that `reid enroll` would.")
@options.wait
@options.json_output
def cameras(gallery: str, action: str, if_due: bool, wait: float, as_json: bool) -> None:
    """Show the camera statistics of a gallery, or fit them again with refresh.

    A camera's light and angle change the descriptors of everybody it sees. Searches remove this bias with the mean and
    deviation of each camera's descriptors. `reid enroll` fits these statistics when a camera's records have doubled or
    halved; refresh fits them now, to all records, and builds the index of a large gallery. After a camera was moved,
    enroll it under a new name.
    """
    from reid_toolkit.gallery import open_gallery
    from reid_toolkit.search.documents import cameras_document

    if gallery in ACTIONS and action not in ACTIONS:
        gallery, action = action, gallery  # `reid gallery cameras refresh G` is accepted too
    if action not in ACTIONS:
        raise click.BadParameter(f"{action!r} is not one of {', '.join(map(repr, ACTIONS))}", param_hint="action")
    if if_due and action != REFRESH:
        raise click.UsageError(f"--if-due is for {REFRESH}: add {REFRESH}, or leave --if-due out")
    with open_gallery(gallery, create=False, wait=wait) as store:
        if action == REFRESH:
            with announcing_fit(store, gallery):
                with late_progress_bar("camera statistics", "records") as on_progress:
                    store.refresh_statistics(on_progress, if_due=if_due)
                with late_progress_bar("index", "records") as on_progress:
                    store.build_index(on_progress)
        statistics, held = store.statistics(), store.info()
    if as_json:
        print_json(cameras_document(statistics, held, gallery))
        return
    known = {one.camera: one for one in statistics.cameras} if statistics else {}
    rows = []
    for name, count in sorted((dict.fromkeys(known, 0) | held.cameras).items()):
        fit = known.get(name)
        own = (
            (fit.records, fit.tracklets, f"{fit.people:.0f}", f"{fit.weight:.0%}", f"{fit.distance:.3f}") if fit else ()
        )
        rows.append([name or "(no name)", count, *(own or ("", "", "", "", ""))])
    header = ("camera", "records", "fitted to", "tracklets", "people, about", "own mean", "bias")
    print_table(header, rows, fold={"camera"})
    if held.statistics:
        click.echo(f"{gallery}: camera statistics {describe_statistics(held.statistics)}")
    else:
        click.echo(f"{gallery}: no camera statistics: {why_none(gallery, held.cameras)}")


def describe_statistics(about: dict[str, Any]) -> str:
    """The version of the statistics, when they were fitted, and whether a newer version waits, as text."""
    when = format_span(about["fitted"], about["fitted"])
    text = f"version {about['version']} of {about['cameras']} cameras, fitted {when}"
    if about["newest"] != about["version"]:
        text += f"; version {about['newest']} waits for the index: `reid gallery compact` or `reid enroll` builds it"
    return text


@contextmanager
def announcing_fit(store: "GalleryStore", gallery: str) -> Iterator[None]:
    """Say on stderr if the work in this context has changed the camera statistics in use."""
    from reid_toolkit.gallery.types import Comparison

    before = store.statistics_version(Comparison())
    yield
    after = store.statistics_version(Comparison())
    if after != before:
        log.print(describe_fit(gallery, after), markup=False, soft_wrap=True)


def describe_fit(gallery: str, version: int) -> str:
    """The message that statistics were fitted, and what to do next. ``version`` is now in use; 0 for none."""
    if not version:
        return f"{gallery}: too few tracklets are left for camera statistics; searches compare without them"
    return (
        f"camera statistics fitted, version {version}: `reid gallery cameras {gallery}` shows them; for probabilities, "
        f"run `reid calibrate DATASET --model MODEL --gallery {gallery}`, again after each new version"
    )


def why_none(gallery: str, records: dict[str, int]) -> str:
    """Why a gallery has no statistics. ``records`` are its records by camera."""
    from reid_toolkit.camera_statistics import LEAST

    large = sum(count >= LEAST for camera, count in records.items() if camera)
    if large < 2:
        return (
            f"expected at least two cameras with {LEAST} records each, got {large} such cameras; searches compare "
            "without them"
        )
    return (
        f"searches compare without them; `reid gallery cameras {gallery} refresh` fits them if two cameras have each "
        f"shown about {LEAST} different people"
    )
