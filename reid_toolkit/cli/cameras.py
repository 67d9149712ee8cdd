"""``reid gallery cameras``: the camera statistics of a gallery."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from reid_toolkit.cli import options
from reid_toolkit.cli.console import late_progress_bar, log, print_json, printable
from reid_toolkit.times import format_span

if TYPE_CHECKING:
    from reid_toolkit.gallery import GalleryStore

ACTIONS = SHOW, REFRESH = "show", "refresh"


@click.command()
@click.argument("gallery")
@click.argument("action", default=SHOW, metavar=f"[{SHOW}|{REFRESH}]")
@options.wait
@options.json_output
def cameras(gallery: str, action: str, wait: float, as_json: bool) -> None:
    """Show what searches know of each camera's bias, or fit it anew with refresh.

    A camera's light and angle change the descriptors of everybody it sees. Searches remove that, by the mean and
    deviation of what each camera has shown. `reid enroll` fits these statistics when a camera's records have doubled or
    halved; refresh fits them at once, to all records there are. Enroll a camera that was moved under a new name.
    """
    from reid_toolkit.gallery import open_gallery

    if gallery in ACTIONS and action not in ACTIONS:
        gallery, action = action, gallery  # `reid gallery cameras refresh G` reads as well
    if action not in ACTIONS:
        raise click.BadParameter(f"{action!r} is not one of {', '.join(map(repr, ACTIONS))}", param_hint="action")
    with open_gallery(gallery, create=False, wait=wait) as store:
        if action == REFRESH:
            with late_progress_bar("camera statistics", "records") as on_progress:
                store.refresh_statistics(on_progress)
            with late_progress_bar("index", "records") as on_progress:
                store.build_index(on_progress)
        statistics, held = store.statistics(), store.info()
    if as_json:
        fits = [asdict(one) for one in statistics.cameras] if statistics else []
        print_json({"gallery": gallery, "statistics": held.statistics, "cameras": fits, "records": held.cameras})
        return
    known = {one.camera: one for one in statistics.cameras} if statistics else {}
    rows = []
    for name, count in sorted((dict.fromkeys(known, 0) | held.cameras).items()):
        fit = known.get(name)
        own = (
            (fit.records, fit.tracklets, f"{fit.people:.0f}", f"{fit.weight:.0%}", f"{fit.distance:.3f}") if fit else ()
        )
        rows.append([printable(name) or "(no name)", count, *(own or ("", "", "", "", ""))])
    print_table(rows)
    if held.statistics:
        click.echo(f"{gallery}: camera statistics {describe_statistics(held.statistics)}")
    else:
        click.echo(f"{gallery}: no camera statistics: {why_none(gallery, held.cameras)}")


def describe_statistics(about: dict[str, Any]) -> str:
    """Version, when, and whether there are newer ones, in words."""
    when = format_span(about["fitted"], about["fitted"])
    text = f"version {about['version']} of {about['cameras']} cameras, fitted {when}"
    if about["newest"] != about["version"]:
        text += f"; version {about['newest']} waits for the index: `reid gallery compact` or `reid enroll` builds it"
    return text


@contextmanager
def announcing_fit(store: "GalleryStore", gallery: str) -> Iterator[None]:
    """Say on stderr when the camera statistics in use are others afterwards."""
    from reid_toolkit.gallery.types import Comparison

    before = store.statistics_version(Comparison())
    yield
    after = store.statistics_version(Comparison())
    if after != before:
        log.print(describe_fit(gallery, after), markup=False, soft_wrap=True)


def describe_fit(gallery: str, version: int) -> str:
    """That a command has fitted statistics, and what follows; ``version`` is the one in use since."""
    if not version:
        return f"{gallery}: too few tracklets are left for camera statistics; descriptors are compared as they are"
    return (
        f"camera statistics fitted, version {version}: `reid gallery cameras {gallery}` shows them; matches get "
        f"probabilities after `reid calibrate DATASET --model MODEL --gallery {gallery}`, which fits this version alone"
    )


def why_none(gallery: str, records: dict[str, int]) -> str:
    """Why a gallery has no statistics, by the records of its cameras."""
    from reid_toolkit.camera_statistics import LEAST

    large = sum(count >= LEAST for camera, count in records.items() if camera)
    if large < 2:
        return (
            f"expected at least two cameras with {LEAST} records each, got {large} such cameras; descriptors are "
            "compared as they are"
        )
    return (
        f"descriptors are compared as they are; `reid gallery cameras {gallery} refresh` fits them if two cameras have "
        f"each shown about {LEAST} different people"
    )


def print_table(rows: list[list[object]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("camera", "records", "fitted to", "tracklets", "people, about", "own mean", "bias", box=None)
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    Console(highlight=False).print(table)
