"""``reid dataset show``: list the tracklets of a dataset, or draw them on a page. Those that look wrong come first."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from reid_toolkit.cli.console import counted, late_progress_bar, log, print_json, printable
from reid_toolkit.cli.options import FOLDER, NAME, json_output
from reid_toolkit.cli.paths import PAGE
from reid_toolkit.cli.tables import print_table
from reid_toolkit.errors import DatasetError
from reid_toolkit.times import format_span

if TYPE_CHECKING:
    from reid_toolkit.datasets.oddities import Oddity, Size
    from reid_toolkit.html_page import Card, Section
    from reid_toolkit.records import Tracklet

LISTED, ON_PAGE = 20, 200
"""Default of --limit for a list, and for a page. A tracklet takes about 80 kB of a page."""
DAMAGED = 1e6
"""Weight of a tracklet with unreadable pictures: it comes first."""
STRIP = 10
"""Crops of each tracklet on a page."""


class Looked(NamedTuple):
    """A tracklet and what looks wrong with it."""

    tracklet: "Tracklet"
    oddities: "list[Oddity]"

    @property
    def weight(self) -> float:
        return sum(one.weight for one in self.oddities)

    def as_json(self) -> dict[str, Any]:
        tracklet, first = self.tracklet, self.tracklet.crops[0]
        return {
            "tracklet": tracklet.name, "camera": tracklet.camera, "recording": first.recording or None,
            "crops": len(tracklet.crops), "frames": [first.frame, tracklet.crops[-1].frame],
            "times": None if tracklet.start is None else [tracklet.start, tracklet.end],
            "looks_wrong": [
                {"kind": one.kind, "words": one.words, "frame": one.frame, "weight": round(one.weight, 3)}
                for one in self.oddities
            ],
        }  # fmt: skip


@click.command()
@click.argument("dataset", type=FOLDER)
@click.argument("tracklets", nargs=-1, type=NAME, metavar="[TRACKLET]...")
@click.option("--camera", type=NAME, metavar="NAME", help="Show only tracklets of this camera.")
@click.option("--html", type=PAGE, metavar="FILE", help="Write an HTML page with a strip of crops for each tracklet.")
@click.option(
    "--limit", type=click.IntRange(1), help=f"How many tracklets to show.  [default: {LISTED}; {ON_PAGE} on a page]"
)
@json_output
def show(
    dataset: Path, tracklets: tuple[str, ...], camera: str | None, html: Path | None, limit: int | None, as_json: bool
) -> None:
    """Show the tracklets of DATASET, those that look wrong first. DATASET may have any layout that reid reads.

    A tracklet looks wrong if its colours change (maybe it shows two people), if its place or size jumps, if its boxes
    have not the shape of a person who stands or walks, if the frame's edge cuts them, or if they are tiny. These are
    hints: look at the crops, then use `reid dataset drop` or `reid dataset split`.
    """
    from reid_toolkit.datasets import open_dataset
    from reid_toolkit.footage.dataset_writer import frame_sizes

    held, sizes = open_dataset(dataset), frame_sizes(dataset)
    chosen = choose(held.tracklets, dataset, tracklets, camera)
    looked = []
    with late_progress_bar("look", "tracklets") as on_progress:
        for number, tracklet in enumerate(chosen, start=1):
            looked.append(Looked(tracklet, look_at(tracklet, sizes)))
            on_progress(number, len(chosen))
    looked.sort(key=lambda one: -one.weight)
    if html:
        write_page(html, dataset, looked, limit or ON_PAGE, can_change=held.layout == "manifest")
    if as_json:
        print_json({"dataset": str(dataset), "tracklets": [one.as_json() for one in looked[:limit]]})
        return
    if not html:
        show_table(looked[: limit or LISTED])
    click.echo(printable(f"{dataset}: {summary(looked)}"))
    left = len(looked) - (limit or (ON_PAGE if html else LISTED))
    if left > 0:
        click.echo(f"{left} more are not shown: --limit {len(looked)} shows all")
    if html:
        log.print(f"page: {html}", markup=False, soft_wrap=True)


def choose(held: "Sequence[Tracklet]", dataset: Path, names: Sequence[str], camera: str | None) -> "list[Tracklet]":
    """The tracklets with these ``names`` (all, if there are none) of this ``camera`` (any, if it is None)."""
    from reid_toolkit.errors import refuse_unknown

    refuse_unknown("tracklet", names, sorted({one.name for one in held}), str(dataset))
    refuse_unknown("camera", [] if camera is None else [camera], sorted({one.camera for one in held}), str(dataset))
    chosen = [one for one in held if (not names or one.name in names) and camera in (None, one.camera)]
    if not chosen:
        raise DatasetError(f"{dataset}: none of these tracklets is of camera {camera!r}")
    return chosen


def look_at(tracklet: "Tracklet", sizes: "Mapping[str, Size]") -> "list[Oddity]":
    """What looks wrong with a tracklet. Unreadable pictures count as the worst fault."""
    from reid_toolkit.datasets.oddities import Oddity, oddities
    from reid_toolkit.errors import ImageError

    try:
        return oddities(tracklet, sizes)
    except ImageError as error:
        return [Oddity("damaged", str(error), DAMAGED)]


def summary(looked: Sequence[Looked]) -> str:
    """How many tracklets there are, and how many look wrong, in one line."""
    cameras = len({one.tracklet.camera for one in looked})
    crops = sum(len(one.tracklet.crops) for one in looked)
    kinds = Counter(oddity.kind for one in looked for oddity in one.oddities)
    wrong = sum(bool(one.oddities) for one in looked)
    told = f" ({', '.join(f'{kind}: {count}' for kind, count in kinds.most_common())})" if kinds else ""
    total = f"{counted(len(looked), 'tracklet')} of {counted(cameras, 'camera')}, {counted(crops, 'crop')}"
    return f"{total}; {wrong} look wrong{told}"


def show_table(looked: Sequence[Looked]) -> None:
    rows = [
        (
            one.tracklet.name, one.tracklet.camera, len(one.tracklet.crops),
            format_span(one.tracklet.start, one.tracklet.end), "; ".join(oddity.words for oddity in one.oddities),
        )
        for one in looked
    ]  # fmt: skip
    header = ("tracklet", "camera", "crops", "time", "looks wrong")
    print_table(header, rows, fold=set(header) - {"crops"})


def write_page(path: Path, dataset: Path, looked: Sequence[Looked], limit: int, *, can_change: bool) -> None:
    """Write a page with a strip of crops for each tracklet, at most ``limit``, in the given order."""
    from reid_toolkit.files import write_atomic
    from reid_toolkit.html_page import Section, page

    left = len(looked) - limit
    text = f"{summary(looked)}. Those that look wrong come first. These are hints: look before you change anything."
    text += f" {left} more are not on this page." if left > 0 else ""
    how = (
        "If a tracklet shows nobody, or too little: reid dataset drop DATASET TRACKLET. If it shows two people: reid "
        "dataset split DATASET TRACKLET --at FRAME, with the first frame of the second person. reid dataset undo "
        "DATASET undoes the last change."
    )
    sections = [
        Section("Tracklets", f"{text}\n\n{how}" if can_change else text),
        *(strip_of(one) for one in looked[:limit]),
    ]
    # A folder name need not be valid Unicode. The page has "?" in its place.
    write_atomic(path, page(f"Dataset {dataset}", sections))


def strip_of(one: Looked) -> "Section":
    from reid_toolkit.datasets.oddities import spread
    from reid_toolkit.html_page import Section

    tracklet = one.tracklet
    cuts = {oddity.frame for oddity in one.oddities if oddity.frame is not None}
    shown = {crop.path for crop in spread(tracklet.crops, STRIP)}
    crops = [crop for crop in tracklet.crops if crop.path in shown or crop.frame in cuts]
    words = [oddity.words for oddity in one.oddities]
    span = format_span(tracklet.start, tracklet.end)
    about = ", ".join(filter(None, (counted(len(tracklet.crops), "crop"), span)))
    text = "\n\n".join(filter(None, (about, f"Looks wrong: {'; '.join(words)}." if words else "")))
    same = tracklet.name if tracklet.name.startswith(tracklet.camera) else f"{tracklet.name} · {tracklet.camera}"
    return Section(same, text, rows=(tuple(card_of(crop, crop.frame in cuts) for crop in crops),), small=True)


def card_of(crop: Any, cut: bool) -> "Card":
    from reid_toolkit.html_page import Card

    time = format_span(crop.time, crop.time)
    return Card(crop.path, tuple(filter(None, (f"frame {crop.frame}", time, "changes here" if cut else ""))))
