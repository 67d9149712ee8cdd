"""Matches as a table, as JSON for other programs, or as a page of pictures."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from reid_toolkit.cli.console import counted, log, printable
from reid_toolkit.cli.tables import print_table
from reid_toolkit.records import Match, Record
from reid_toolkit.times import format_span

if TYPE_CHECKING:
    from reid_toolkit.html_page import Card, Mark, Section
    from reid_toolkit.images import Image
    from reid_toolkit.search import Answer, Query

SHOWN = 8
"""At most so many pictures of the query are on the page."""
CROPS_SHOWN = 6
"""At most so many pictures of a tracklet are on the page: they fill a row."""
DISTANCES = "Distances are Euclidean between descriptors, 0 to 2."
FREED = "Distances are Euclidean between descriptors freed of their camera's bias, 0 to 2."
"""The sentence for a search with camera statistics."""
OUT_OF_ORDER = (
    "matches are in the order of their distance; a match farther down can be more likely, because each pair of cameras "
    "is judged by its own evidence"
)
WORDS = {True: "right", False: "wrong", None: ""}
MARKS: "dict[bool | None, Mark | None]" = {True: "right", False: "wrong", None: None}


def show_table(answers: "Sequence[Answer]", group: str | None, more: str = "") -> None:
    """Print matches as a table. ``more`` says how to get further matches; empty if there are none."""
    from reid_toolkit.search.answers import is_out_of_order, verdict
    from reid_toolkit.search.confidence import UNKNOWN

    marked = any(answer.right is not None for answer in answers)
    told = any(answer.confidence.text for answer in answers)
    columns = [
        *(["crops"] if group == "tracklet" else []),
        *(["same person"] if told else []),
        *(["truth"] if marked else []),
    ]
    rows: list[list[str]] = []
    for number, section in enumerate(sections_of(answers, group)):
        if number:
            rows.append([])
        for answer in section:
            cells = [str(answer.match.rank), *caption(answer.match)]
            cells += [] if answer.crops is None else [str(len(answer.crops))]
            cells += [answer.confidence.text] if told else []
            rows.append([*cells, *([WORDS[answer.right]] if marked else [])])
    print_table(("rank", *Caption._fields, *columns), rows, fold={"camera", "time", "tracklet"})
    if is_out_of_order(answers):
        click.echo(f"note: {OUT_OF_ORDER}")
    if verdict(answers) == UNKNOWN:
        click.echo("unknown: no match is near enough for the false-match rate that was given")
    if more:
        click.echo(f"more: {more}")


def sections_of(answers: "Sequence[Answer]", group: str | None) -> "list[list[Answer]]":
    """The answers of each camera if ``group`` is "camera". Else one list with all answers."""
    if group != "camera":
        return [list(answers)]
    return [list(part) for _, part in groupby(answers, key=lambda answer: answer.match.record.camera)]


class Caption(NamedTuple):
    """A match as text. Its fields are the columns of the table, by their names."""

    distance: str
    camera: str
    time: str
    tracklet: str


def caption(match: Match) -> Caption:
    """What the table and the page say of a match."""
    record = match.record
    span = format_span(record.start, record.end)
    return Caption(f"{match.distance:.3f}", printable(record.camera), span, printable(record.tracklet))


def picture_of(record: Record) -> "Image | Path | None":
    """The crop that shows a record. If its file does not exist, the picture that the gallery stores, if any."""
    from reid_toolkit.images import decode

    path = Path(record.image) if record.image else None
    return decode(record.thumbnail) if record.thumbnail and not (path and path.exists()) else path


def warn_damage(damage: dict[int, str]) -> None:
    """Warn how many damaged records a search left out."""
    if damage:
        number, why = next(iter(damage.items()))
        log.print(
            f"[yellow]warning:[/] {len(damage)} damaged records were left out (the first is {number}: {why}): "
            "`reid gallery check` lists them",
            soft_wrap=True,
        )


def write_sheet(
    path: Path,
    query: "Query",
    answers: "Sequence[Answer]",
    group: str | None,
    *,
    camera_statistics: bool = False,
) -> None:
    """Write the query and its matches as one HTML file. Each group of matches has its own row.

    camera_statistics: whether the search used camera statistics.
    """
    from reid_toolkit.files import write_atomic
    from reid_toolkit.html_page import Card, Section, page
    from reid_toolkit.search.answers import is_out_of_order

    distances = FREED if camera_statistics else DISTANCES
    if is_out_of_order(answers):
        distances += f"\n\nNote: {OUT_OF_ORDER}."
    pictures = [(crop.path.name, image) for crop, image in zip(query.crops, query.images, strict=True)]
    step = max(len(pictures) / SHOWN, 1)
    shown = [pictures[int(i * step)] for i in range(min(len(pictures), SHOWN))]
    mean = f"{counted(len(pictures), 'crop')}, searched by their mean." if len(pictures) > 1 else ""
    cards = tuple(Card(picture, (name,), "query") for name, picture in shown)
    sections = [Section("Query", mean, rows=(cards,), small=True)]
    told = "probability of the same person, " if any(answer.confidence.text for answer in answers) else ""
    if not answers:
        sections.append(Section("Matches", "No further record passes the filters."))
    elif any(len(answer.crops or ()) > 1 for answer in answers):
        text = (
            f"Rank, tracklet, {told}camera; up to {CROPS_SHOWN} of its crops that were found, the nearest first, with"
        )
        sections.append(Section("Matches by tracklet", f"{text} distance and time. {distances}"))
        sections += [tracklet_section(answer) for answer in answers]
    elif group == "camera":
        text = f"Rank in the camera and distance, {told}time, tracklet. {distances}"
        sections.append(Section("Matches by camera", text))
        sections += [camera_section(part) for part in sections_of(answers, group)]
    else:
        cards = tuple(card_of(answer, rank_of(answer), *caption(answer.match)[1:]) for answer in answers)
        text = f"Rank and distance, {told}camera, time, tracklet. {distances}"
        sections.append(Section("Matches", text, rows=(cards,)))
    # A file name need not be valid Unicode. The page has "?" in its place.
    write_atomic(path, page(f"Search for {query.name}", sections))


def rank_of(answer: "Answer") -> str:
    return f"{answer.match.rank} · {caption(answer.match).distance}"


def card_of(answer: "Answer", title: str, *lines: str) -> "Card":
    """The card of a match: its picture, ``title``, probability, and those ``lines`` that are not empty."""
    from reid_toolkit.html_page import Card

    text = tuple(filter(None, (title, answer.confidence.text, *lines)))
    return Card(picture_of(answer.match.record), text, MARKS[answer.right])


def camera_section(answers: "Sequence[Answer]") -> "Section":
    """The section with the matches of one camera."""
    from reid_toolkit.html_page import Section

    cards = tuple(card_of(answer, rank_of(answer), *caption(answer.match)[2:]) for answer in answers)
    return Section(caption(answers[0].match).camera or "(no name)", rows=(cards,))


def tracklet_section(answer: "Answer") -> "Section":
    """The section of a tracklet, with the nearest of its crops that were found."""
    from reid_toolkit.html_page import Section
    from reid_toolkit.search import Confidence

    about, crops = caption(answer.match), answer.crops or ()
    cards = [
        card_of(answer._replace(match=crop, confidence=Confidence()), caption(crop).distance, caption(crop).time)
        for crop in crops[:CROPS_SHOWN]
    ]
    heading = " · ".join(filter(None, (str(answer.match.rank), about.tracklet, answer.confidence.text, about.camera)))
    return Section(heading, f"{len(crops)} crops found.", rows=(tuple(cards),))
