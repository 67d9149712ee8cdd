"""How matches are shown: a table, a list for other programs, a page of pictures."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from reid_toolkit.cli.root import log
from reid_toolkit.records import Match, Record
from reid_toolkit.times import format_span

if TYPE_CHECKING:
    from reid_toolkit.images import Image

SHOWN = 8
"""Pictures of the query on the page."""
WORDS = {True: "right", False: "wrong", None: ""}


class Answer(NamedTuple):
    """A match, and whether it is right; None where the truth is not known."""

    match: Match
    right: bool | None


def judge(matches: Sequence[Match], query: str, truth: dict[str, str]) -> list[Answer]:
    """Matches against the identities of tracklets; ``query`` is the tracklet that was searched for."""
    wanted = truth.get(query)
    answers = []
    for match in matches:
        identity = truth.get(match.record.tracklet)
        known = wanted is not None and identity is not None
        answers.append(Answer(match, identity == wanted if known else None))
    return answers


def as_list(answers: Sequence[Answer]) -> list[dict[str, object]]:
    """The stable form for other programs, described in docs/gallery.md."""
    return [
        {"rank": match.rank, "distance": round(match.distance, 6), **as_dict(match.record), "right": right}
        for match, right in answers
    ]


def as_dict(record: Record) -> dict[str, object]:
    """A record without its picture's bytes, which JSON has no form for."""
    fields = asdict(record)
    del fields["thumbnail"]
    return fields


def print_table(answers: Sequence[Answer]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not answers:
        click.echo("no record passes the filters")
        return
    marked = any(right is not None for _, right in answers)
    table = Table("rank", "distance", "camera", "time", "tracklet", *(["truth"] if marked else []), box=None)
    for match, right in answers:
        cells = [str(match.rank), *captions(match)]
        table.add_row(*map(Text, cells), *([WORDS[right]] if marked else []))
    Console(highlight=False).print(table)


def captions(match: Match) -> tuple[str, str, str, str]:
    """Distance, camera, time and tracklet as text."""
    record = match.record
    return f"{match.distance:.3f}", record.camera, format_span(record.start, record.end), record.tracklet


def picture_of(record: Record) -> "Image | Path | None":
    """The crop that shows it; what the gallery keeps of it where that file is not here."""
    from reid_toolkit.images import decode

    path = Path(record.image) if record.image else None
    return decode(record.thumbnail) if record.thumbnail and not (path and path.exists()) else path


def warn_damage(damage: dict[int, str]) -> None:
    """Say which records a search had to leave out."""
    if damage:
        number, why = next(iter(damage.items()))
        log.print(
            f"[yellow]warning:[/] left out {len(damage)} damaged records (the first, {number}: {why}); "
            "see `reid gallery check`",
            soft_wrap=True,
        )


def write_sheet(path: Path, query: str, pictures: Sequence[Path], answers: Sequence[Answer]) -> None:
    """The query's ``pictures`` and the matches, as one HTML file."""
    from reid_toolkit.contact_sheet import Card, Section, page
    from reid_toolkit.files import write_atomic

    step = max(len(pictures) / SHOWN, 1)
    shown = [pictures[int(i * step)] for i in range(min(len(pictures), SHOWN))]
    mean = f"{len(pictures)} crops, searched by their mean." if len(pictures) > 1 else ""
    found = tuple(
        Card(
            picture_of(match.record),
            (f"{match.rank} · {distance}", *(line for line in lines if line)),
            None if right is None else "right" if right else "wrong",
        )
        for match, right in answers
        for distance, *lines in [captions(match)]
    )
    legend = "Rank and distance, camera, time, tracklet. Distances are Euclidean between descriptors, 0 to 2."
    sections = [
        Section("Query", mean, rows=(tuple(Card(picture, (picture.name,), "query") for picture in shown),)),
        Section("Matches", legend if answers else "No record passes the filters.", rows=(found,)),
    ]
    write_atomic(path, page(f"Search for {query}", sections))
